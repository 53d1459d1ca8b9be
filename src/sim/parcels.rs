//! What is under way on all wires together: lists of parcels in one store, whose places are used
//! again.
//!
//! Hundreds of thousands of wires are silent most of the time. A list of its own would cost each of
//! them more memory than all else it has, and an allocation for most of what it carries.

use std::num::NonZeroU32;
use std::ops::Deref;

/// What arrives at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    Bytes(Piece),
    /// The end of the stream.
    End,
}

/// Some bytes. Those of a Query lie in the parcel itself: one place in memory less to wait for.
#[derive(Debug)]
pub(super) enum Piece {
    Short { len: u8, bytes: [u8; SHORT_BYTES] },
    Long(Vec<u8>),
}

/// So that a place is no larger than what a processor fetches at one time.
const SHORT_BYTES: usize = 54;

/// The parcels of all wires.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    places: Vec<Place>,
    /// The first of the places not in use, which form a list too.
    free: Link,
}

#[derive(Debug)]
#[repr(align(64))]
struct Place {
    parcel: Parcel,
    next: Link,
}

/// The number of a place and one, or nothing.
type Link = Option<NonZeroU32>;

/// Parcels in the order they were put on.
#[derive(Debug, Default)]
pub(super) struct List {
    first: Link,
    last: Link,
}

impl Piece {
    pub(super) fn new(bytes: &[u8]) -> Piece {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= SHORT_BYTES => {
                let mut short = [0; SHORT_BYTES];
                short[..bytes.len()].copy_from_slice(bytes);
                Piece::Short { len, bytes: short }
            }
            _ => Piece::Long(bytes.to_vec()),
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Piece::Short { len, bytes } => &bytes[..usize::from(*len)],
            Piece::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        **self == **other
    }
}

impl Eq for Piece {}

impl Parcels {
    pub(super) fn push(&mut self, list: &mut List, parcel: Parcel) {
        let place = Place { parcel, next: None };
        let link = match self.free {
            Some(free) => {
                let freed = std::mem::replace(&mut self.places[at(free)], place);
                self.free = freed.next;
                Some(free)
            }
            None => {
                self.places.push(place);
                let number = u32::try_from(self.places.len()).expect("less than memory can hold");
                NonZeroU32::new(number)
            }
        };
        match list.last {
            Some(last) => self.places[at(last)].next = link,
            None => list.first = link,
        }
        list.last = link;
    }

    pub(super) fn pop(&mut self, list: &mut List) -> Option<Parcel> {
        let first = list.first?;
        let place = &mut self.places[at(first)];
        let parcel = std::mem::replace(&mut place.parcel, Parcel::End);
        list.first = std::mem::replace(&mut place.next, self.free);
        self.free = Some(first);
        if list.first.is_none() {
            list.last = None;
        }
        Some(parcel)
    }

    /// The first 16 bytes of the first parcel.
    pub(super) fn first_guid(&self, list: &List) -> Option<&[u8; 16]> {
        match list.first.map(|first| &self.places[at(first)].parcel) {
            Some(Parcel::Bytes(bytes)) => bytes.first_chunk(),
            _ => None,
        }
    }

    /// Reads the first parcel, for [`super::fetch`].
    pub(super) fn weight(&self, list: &List) -> u64 {
        match list.first.map(|first| &self.places[at(first)].parcel) {
            Some(Parcel::Bytes(bytes)) => bytes.first().copied().unwrap_or(0).into(),
            _ => 0,
        }
    }
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

fn at(link: NonZeroU32) -> usize {
    link.get() as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_order_and_places_are_used_again() {
        let mut parcels = Parcels::default();
        let (mut a, mut b) = (List::default(), List::default());
        for round in 0..10 {
            for number in 0..5 {
                parcels.push(&mut a, Parcel::Bytes(Piece::new(&[number])));
                parcels.push(&mut b, Parcel::Bytes(Piece::new(&[round, number])));
            }
            parcels.push(&mut b, Parcel::End);
            for number in 0..5 {
                assert_eq!(parcels.pop(&mut b), Some(Parcel::Bytes(Piece::new(&[round, number]))));
                assert_eq!(parcels.pop(&mut a), Some(Parcel::Bytes(Piece::new(&[number]))));
            }
            assert_eq!((parcels.pop(&mut a), parcels.pop(&mut b)), (None, Some(Parcel::End)));
            assert!(a.is_empty() && b.is_empty());
        }
        assert_eq!(parcels.places.len(), 11);
    }

    #[test]
    fn bytes_are_the_same_wherever_they_lie() {
        for len in [0, 1, SHORT_BYTES, SHORT_BYTES + 1, 255, 256, 300, 70_000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            assert_eq!(&*Piece::new(&bytes), bytes);
        }
        assert_eq!(size_of::<Place>(), 64);
    }
}
