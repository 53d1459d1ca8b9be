//! The two 16-byte identifiers. They look alike and must never be mixed: a [`Guid`] names one
//! descriptor, a [`ServentId`] names one servent for as long as its state folder lives.

use crate::rng::Rng;
use std::fmt;
use uuid::Uuid;

/// The id of one descriptor, and of the replies to it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

/// The id of one servent, the last 16 bytes of its QueryHits and the address of Pushes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServentId(pub [u8; 16]);

/// Byte 8 = ff marks "not a raw Windows UUID", byte 15 is reserved as 0 (0.6 draft, 2.2.1; GNU
/// Serveez does neither, so receivers must not ask for it).
fn marked(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[8] = 0xff;
    bytes[15] = 0;
    bytes
}

impl Guid {
    /// A fresh id with the conventional marker bytes.
    pub fn random(rng: &mut Rng) -> Guid {
        Guid(marked(rng.bytes16()))
    }
}

impl ServentId {
    /// A fresh id from 16 random bytes, with the conventional marker bytes.
    pub fn from_random(bytes: [u8; 16]) -> ServentId {
        ServentId(marked(bytes))
    }

    /// All bytes zero: no servent has that id, hits that claim it are forged or broken.
    pub fn is_blank(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", Uuid::from_bytes(self.0).simple())
    }
}

impl fmt::Display for ServentId {
    /// Upper-case hex, the form a GIV line carries (GNU Serveez compares it byte for byte).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", Uuid::from_bytes(self.0).simple())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ServentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
