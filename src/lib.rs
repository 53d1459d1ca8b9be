//! servent
pub mod config;
pub mod library;
pub mod rng;
pub mod servent;
pub mod stats;
pub mod time;
pub mod transfer;
pub mod wire;
