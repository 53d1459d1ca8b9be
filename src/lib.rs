//! servent
pub mod cli;
pub mod config;
pub mod driver;
pub mod library;
pub mod rng;
pub mod servent;
pub mod stats;
pub mod testnet;
pub mod time;
pub mod transfer;
pub mod wire;
