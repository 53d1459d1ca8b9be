//! A local network of real processes, driven from outside like any user would: the running
//! binary is started as `servent run`, watched through what it prints, and stopped by signal.

pub mod demo;
mod process;

pub use process::{Process, command};
