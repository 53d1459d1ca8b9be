//! Where a handshake ends: a block of lines by its empty line, for whoever reads the lines, and the
//! whole handshake of a stream, for a reader that takes no part in it, such as a tap.
//!
//! | first line | stream | blocks of lines |
//! |---|---|---|
//! | `GNUTELLA CONNECT/0.4` | dialling side, 0.4 | 1 |
//! | `GNUTELLA CONNECT/` and a later version | dialling side, 0.6: headers, then its final answer | 2 |
//! | another one that begins with `GNUTELLA` | accepting side | 1 |
//! | anything else: `GET`, `HTTP/`, `GIV` | not a link | – |
//!
//! A block ends with an empty line. A line ends with LF or CR LF.

/// The longest prefix that first lines have in common, with the version that has one block only.
const CONNECT_04: &[u8] = b"GNUTELLA CONNECT/0.4";
/// Bytes of [`CONNECT_04`] before its version.
const BEFORE_VERSION: u8 = 17;
/// Bytes of `GNUTELLA`.
const PROTOCOL: u8 = 8;

/// Finds the empty line that ends a block of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlankLine {
    line_is_empty: bool,
}

impl BlankLine {
    /// Takes the next byte; whether it ends the block.
    pub(super) fn ends_at(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' if self.line_is_empty => {
                self.line_is_empty = false;
                return true;
            }
            b'\n' => self.line_is_empty = true,
            b'\r' => {}
            _ => self.line_is_empty = false,
        }
        false
    }
}

/// Length of the block of lines that `bytes` begin with, its empty line included.
pub fn block_len(bytes: &[u8]) -> Option<usize> {
    let mut blank = BlankLine::default();
    bytes.iter().position(|&byte| blank.ends_at(byte)).map(|at| at + 1)
}

/// Follows one direction of a connection until the handshake in it is over. Four bytes, so that
/// hundreds of thousands of streams can be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeEnd {
    phase: Phase,
    /// Bytes of [`CONNECT_04`] that the first line began with.
    matched: u8,
    blocks_left: u8,
    blank: BlankLine,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    FirstLine,
    Lines,
    Link,
    NoLink,
}

impl HandshakeEnd {
    /// The part of `bytes`, the next of the stream, that lies behind the handshake. Empty while the
    /// handshake goes on, and for a stream that is no link.
    #[inline]
    pub fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.phase {
            Phase::Link => bytes,
            _ => self.skip_lines(bytes),
        }
    }

    /// Whether the handshake is over and descriptors follow.
    pub fn is_link(&self) -> bool {
        self.phase == Phase::Link
    }

    /// Whether no descriptors will come of this stream.
    pub fn is_no_link(&self) -> bool {
        self.phase == Phase::NoLink
    }

    /// The stream fell out of step: nothing more of it is followed.
    pub fn give_up(&mut self) {
        self.phase = Phase::NoLink;
    }

    fn skip_lines<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.phase == Phase::FirstLine {
                self.first_line(byte);
            }
            match self.phase {
                Phase::Lines => self.line(byte),
                Phase::NoLink => return &[],
                Phase::FirstLine | Phase::Link => {}
            }
            if self.phase == Phase::Link {
                return &bytes[at + 1..];
            }
        }
        &[]
    }

    fn first_line(&mut self, byte: u8) {
        if CONNECT_04.get(usize::from(self.matched)) == Some(&byte) {
            self.matched += 1;
            return;
        }
        let is_gnutella = self.matched >= PROTOCOL;
        let later = (BEFORE_VERSION..).contains(&self.matched)
            && usize::from(self.matched) < CONNECT_04.len();
        self.blocks_left = if later { 2 } else { 1 };
        self.phase = if is_gnutella { Phase::Lines } else { Phase::NoLink };
    }

    fn line(&mut self, byte: u8) {
        if self.blank.ends_at(byte) {
            self.blocks_left -= 1;
            if self.blocks_left == 0 {
                self.phase = Phase::Link;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &[u8] = b"\n\n0123456789abcdef\0\x01\0\0\0\0\0";

    /// What lies behind the handshake, the stream read in pieces of `size`.
    fn behind(stream: &[u8], size: usize) -> (Vec<u8>, HandshakeEnd) {
        let mut end = HandshakeEnd::default();
        let behind = stream.chunks(size).flat_map(|piece| end.skip(piece).to_vec()).collect();
        (behind, end)
    }

    #[test]
    fn descriptors_begin_behind_the_handshake_of_either_version_and_side() {
        for handshake in [
            "GNUTELLA CONNECT/0.4\n\n",
            "GNUTELLA CONNECT/0.4\r\n\r\n",
            "GNUTELLA OK\n\n",
            "GNUTELLA OK\r\n\r\n",
            "GNUTELLA/0.6 200 OK\r\nUser-Agent: x\r\n\r\n",
            "GNUTELLA CONNECT/0.6\r\nA: b\r\n\r\nGNUTELLA/0.6 200 OK\r\n\r\n",
            "GNUTELLA CONNECT/0.6\r\n\r\nGNUTELLA/0.6 200 OK\r\nA: b\r\nC: d\r\n\r\n",
            "GNUTELLA CONNECT/1.0\n\nGNUTELLA/0.6 200 OK\n\n",
        ] {
            let stream = [handshake.as_bytes(), DESCRIPTOR].concat();
            for size in 1..=stream.len() {
                let (rest, end) = behind(&stream, size);
                assert_eq!(rest, DESCRIPTOR, "{handshake:?} in pieces of {size}");
                assert!(end.is_link());
            }
            for len in 0..handshake.len() {
                let (rest, end) = behind(&stream[..len], 64);
                assert!(rest.is_empty() && !end.is_link() && !end.is_no_link());
            }
        }
    }

    #[test]
    fn what_is_no_link_has_no_descriptors() {
        for stream in ["GET /get/1/x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\n\n", "GIV 1:x\n\n", "G X"]
        {
            let stream = [stream.as_bytes(), DESCRIPTOR].concat();
            for size in 1..=stream.len() {
                let (rest, end) = behind(&stream, size);
                assert!(rest.is_empty() && end.is_no_link());
            }
        }
        assert_eq!(size_of::<HandshakeEnd>(), 4);
    }
}
