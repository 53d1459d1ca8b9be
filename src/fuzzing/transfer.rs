//! Transfers under fire: operations decoded from bytes, played against one upload or one download
//! by an owner that keeps its side of the contract and holds the machine to the other.

mod download;
mod upload;

use super::script::Script;

/// Whatever a peer sends, however the disk answers and whenever time passes: uploads hold a file
/// exactly between `Open` and `Release` and send nothing but whole heads and what they promise,
/// downloads write each byte once and in order and end at most once, and neither waits for ever.
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
