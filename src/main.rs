//! The `servent` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    servent::cli::main()
}
