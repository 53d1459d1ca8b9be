//! What is under way on all wires together: lists of parcels in one store, whose places and buffers
//! are used again.
//!
//! Hundreds of thousands of wires are silent most of the time. A list of its own would cost each of
//! them more memory than all else it has, and an allocation for most of what it carries.

/// What arrives at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    Bytes(Vec<u8>),
    /// The end of the stream.
    End,
}

/// The parcels of all wires.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    places: Vec<Place>,
    /// The first of the places not in use, which form a list too.
    free: Link,
    /// Buffers not in use.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Place {
    parcel: Parcel,
    next: Link,
}

/// The number of a place and one, or nothing.
type Link = Option<std::num::NonZeroU32>;

/// Parcels in the order they were put on.
#[derive(Debug, Default)]
pub(super) struct List {
    first: Link,
    last: Link,
}

/// A spare buffer above this is given back.
const KEEP_CAPACITY_BYTES: usize = 1_024;

impl Parcels {
    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back once its bytes have been read.
    pub(super) fn reuse(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEEP_CAPACITY_BYTES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

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
                std::num::NonZeroU32::new(number)
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

fn at(link: std::num::NonZeroU32) -> usize {
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
                parcels.push(&mut a, Parcel::Bytes(vec![number]));
                parcels.push(&mut b, Parcel::Bytes(vec![round, number]));
            }
            parcels.push(&mut b, Parcel::End);
            for number in 0..5 {
                assert_eq!(parcels.pop(&mut b), Some(Parcel::Bytes(vec![round, number])));
                assert_eq!(parcels.pop(&mut a), Some(Parcel::Bytes(vec![number])));
            }
            assert_eq!((parcels.pop(&mut a), parcels.pop(&mut b)), (None, Some(Parcel::End)));
            assert!(a.is_empty() && b.is_empty());
        }
        assert_eq!(parcels.places.len(), 11);
    }

    #[test]
    fn buffers_come_back_empty_and_large_ones_are_given_up() {
        let mut parcels = Parcels::default();
        parcels.reuse(vec![1; 100]);
        parcels.reuse(vec![1; 100_000]);
        let buffer = parcels.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
        assert_eq!(parcels.buffer().capacity(), 0);
    }
}
