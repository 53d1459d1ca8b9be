//! Fuzz target for transfers: operations are decoded from bytes and played against one upload or one
//! download by an owner that keeps its side of the contract and checks the other.

mod download;
mod upload;

use super::script::Script;

/// For any input of the peer, any answers of the disk and any passage of time: uploads hold a file
/// exactly between `Open` and `Release` and send nothing but whole heads and the bytes these
/// announce; downloads write each byte once and in order and end at most once; neither waits for
/// ever.
///
/// The first byte of `data` chooses the machine and its settings, the rest are operations.
pub fn transfer(data: &[u8]) {
    let Some((&settings, rest)) = data.split_first() else { return };
    let mut script = Script::new(rest);
    match settings & 1 {
        0 => upload::play(settings >> 1, &mut script),
        _ => download::play(settings >> 1, &mut script),
    }
}
