//! `servent testnet`: hands over to the local network of real processes.

use super::args::{TestnetArgs, TestnetCommand};
use super::exit::Failure;
use crate::testnet::demo;

pub(super) fn run(args: &TestnetArgs) -> Result<(), Failure> {
    match &args.command {
        TestnetCommand::Demo(args) => {
            demo::run(usize::from(args.nodes)).map_err(|error| Failure::failed(error.to_string()))
        }
    }
}
