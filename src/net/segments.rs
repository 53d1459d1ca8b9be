//! Segments in flight on all wires: one store of linked lists, whose slots are reused.
//!
//! Most of hundreds of thousands of wires are idle at any moment. A `VecDeque` for each direction
//! would cost more memory than the rest of the wire, and an allocation for most of what it carries.

use std::num::NonZeroU32;
use std::ops::Deref;

/// One arrival: bytes, or how the stream ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Bytes(Payload),
    /// The writer closed in good order.
    End,
    /// The writer closed with a reset.
    Reset,
}

/// The bytes of a segment. Those of a Query are stored inline, which saves a cache miss.
#[derive(Debug)]
pub(super) enum Payload {
    Short { len: u8, bytes: [u8; SHORT_BYTES] },
    Long(Vec<u8>),
}

/// A slot fills one cache line.
const SHORT_BYTES: usize = 54;

/// The segments of all wires.
#[derive(Debug, Default)]
pub(super) struct Segments {
    slots: Vec<Slot>,
    /// Head of the free list.
    free: SlotId,
}

#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    segment: Segment,
    next: SlotId,
}

/// The index of a slot plus one.
type SlotId = Option<NonZeroU32>;

/// A queue of segments.
#[derive(Debug, Default)]
pub(super) struct List {
    first: SlotId,
    last: SlotId,
}

impl Payload {
    pub(super) fn new(bytes: &[u8]) -> Payload {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= SHORT_BYTES => {
                let mut short = [0; SHORT_BYTES];
                short[..bytes.len()].copy_from_slice(bytes);
                Payload::Short { len, bytes: short }
            }
            _ => Payload::Long(bytes.to_vec()),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Short { len, bytes } => &bytes[..usize::from(*len)],
            Payload::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl Segments {
    pub(super) fn push(&mut self, list: &mut List, segment: Segment) {
        let slot = Slot { segment, next: None };
        let link = match self.free {
            Some(free) => {
                let freed = std::mem::replace(&mut self.slots[at(free)], slot);
                self.free = freed.next;
                Some(free)
            }
            None => {
                self.slots.push(slot);
                let number = u32::try_from(self.slots.len()).expect("less than memory can hold");
                NonZeroU32::new(number)
            }
        };
        match list.last {
            Some(last) => self.slots[at(last)].next = link,
            None => list.first = link,
        }
        list.last = link;
    }

    pub(super) fn pop(&mut self, list: &mut List) -> Option<Segment> {
        let first = list.first?;
        let slot = &mut self.slots[at(first)];
        let segment = std::mem::replace(&mut slot.segment, Segment::End);
        list.first = std::mem::replace(&mut slot.next, self.free);
        self.free = Some(first);
        if list.first.is_none() {
            list.last = None;
        }
        Some(segment)
    }

    /// The first 16 bytes of the first segment.
    pub(super) fn first_guid(&self, list: &List) -> Option<&[u8; 16]> {
        match list.first.map(|first| &self.slots[at(first)].segment) {
            Some(Segment::Bytes(bytes)) => bytes.first_chunk(),
            _ => None,
        }
    }

    /// Touches the first segment, for [`super::prefetch`].
    pub(super) fn touch(&self, list: &List) -> u64 {
        match list.first.map(|first| &self.slots[at(first)].segment) {
            Some(Segment::Bytes(bytes)) => bytes.first().copied().unwrap_or(0).into(),
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
    fn lists_keep_their_order_and_slots_are_reused() {
        let mut segments = Segments::default();
        let (mut a, mut b) = (List::default(), List::default());
        for round in 0..10 {
            for number in 0..5 {
                segments.push(&mut a, Segment::Bytes(Payload::new(&[number])));
                segments.push(&mut b, Segment::Bytes(Payload::new(&[round, number])));
            }
            segments.push(&mut b, Segment::End);
            for number in 0..5 {
                assert_eq!(
                    segments.pop(&mut b),
                    Some(Segment::Bytes(Payload::new(&[round, number])))
                );
                assert_eq!(segments.pop(&mut a), Some(Segment::Bytes(Payload::new(&[number]))));
            }
            assert_eq!((segments.pop(&mut a), segments.pop(&mut b)), (None, Some(Segment::End)));
            assert!(a.is_empty() && b.is_empty());
        }
        assert_eq!(segments.slots.len(), 11);
    }

    #[test]
    fn inline_and_heap_payloads_hold_the_same_bytes() {
        for len in [0, 1, SHORT_BYTES, SHORT_BYTES + 1, 255, 256, 300, 70_000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            assert_eq!(&*Payload::new(&bytes), bytes);
        }
        assert_eq!(size_of::<Slot>(), 64);
    }
}
