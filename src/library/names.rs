//! Finds a file by its exact name.
//!
//! Some servents request the right name under the wrong index (gtk-gnutella asks for index 0), so
//! a name that only one file has is enough to serve it. An open-addressing table of positions
//! takes 5.3 bytes per file and compares names in the library's own text.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Set in a slot when a second file has the same name.
const SHARED: u32 = 1 << 31;

/// Slots hold 0 for "free", else a file's position plus one, and perhaps [`SHARED`].
///
/// The hash key is fixed: names are those of our own files, and nothing ever iterates the table.
#[derive(Default)]
pub(super) struct NameTable {
    slots: Vec<u32>,
}

impl NameTable {
    /// A table for `files` names, with a third of that to spare. It has no slots yet.
    pub(super) fn for_files(files: usize) -> NameTable {
        NameTable { slots: Vec::with_capacity(files + files / 3 + 1) }
    }

    /// Adds up to `batch` of its free slots and returns how many; all must be there before the
    /// first [`NameTable::insert`].
    pub(super) fn make_room(&mut self, batch: usize) -> usize {
        let added = batch.min(self.slots.capacity() - self.slots.len());
        self.slots.resize(self.slots.len() + added, 0);
        added
    }

    /// Adds the file at `position`; `name_of` tells the name at any position added.
    pub(super) fn insert<'a>(&mut self, position: u32, name_of: impl Fn(u32) -> &'a str) {
        let Some(slot) = self.find(name_of(position), name_of) else { return };
        match &mut self.slots[slot] {
            free @ 0 => *free = position + 1,
            taken => *taken |= SHARED,
        }
    }

    /// The position of the only file called `name`.
    pub(super) fn unique<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        let slot = self.slots[self.find(name, name_of)?];
        if slot & SHARED != 0 { None } else { slot.checked_sub(1) }
    }

    /// The slot that holds `name`, else the free one where it belongs.
    fn find<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Option<usize> {
        let mut hasher = SipHasher13::new();
        hasher.write(name.as_bytes());
        let size = self.slots.len();
        let home = usize::try_from((u128::from(hasher.finish()) * size as u128) >> 64).ok()?;
        (home..size).chain(0..home).find(|&slot| match self.slots[slot] & !SHARED {
            0 => true,
            position => name_of(position - 1) == name,
        })
    }
}
