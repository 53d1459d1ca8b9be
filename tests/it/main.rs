//! Integration tests.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cli;
mod judge;
mod loopback;
mod process;
