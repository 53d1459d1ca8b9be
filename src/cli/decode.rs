//! decode
use super::args::DecodeArgs;
use super::exit::Failure;
pub(super) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    let _ = (&args.file, args.json);
    Err(Failure::failed("not yet"))
}
