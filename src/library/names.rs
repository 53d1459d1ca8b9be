//! Look-up of a file by its exact name.
//!
//! Some servents request the right name with the wrong index (gtk-gnutella asks for index 0), so a file
//! is also served by its name, if that is unique. An open-addressing table of positions takes 5.3
//! bytes per file and compares names in the text of the library.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Set in a slot when a second file has the same name.
const SHARED: u32 = 1 << 31;

/// Slots hold 0 for "free", else a file's position plus one, and perhaps [`SHARED`].
///
/// The hash key is fixed: names are those of our own files, and the table is never iterated.
#[derive(Default)]
pub(super) struct NameTable {
    slots: Vec<u32>,
}

impl NameTable {
    /// A table for `files` names with a load factor of 3/4. It has no slots yet.
    pub(super) fn for_files(files: usize) -> NameTable {
        NameTable { slots: Vec::with_capacity(files + files / 3 + 1) }
    }

    /// Adds up to `batch` free slots and returns how many; all must be added before the first
    /// [`NameTable::insert`].
    pub(super) fn make_room(&mut self, batch: usize) -> usize {
        let added = batch.min(self.slots.capacity() - self.slots.len());
        self.slots.resize(self.slots.len() + added, 0);
        added
    }

    /// Adds the file at `position`; `name_of` returns the name at a position.
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

    /// The slot of `name`, or the free slot for it.
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
