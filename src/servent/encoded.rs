//! Descriptors in wire form, ready for send queues, and the fill at which a queue refuses them.

use crate::wire::{HEADER_BYTES, Header, Kind};

/// A descriptor ready to be appended to any number of send queues.
#[derive(Debug)]
pub(super) struct EncodedDescriptor<'a> {
    kind: Kind,
    header: [u8; HEADER_BYTES],
    payload: &'a [u8],
    capacity: usize,
    fill_limit: usize,
}

impl<'a> EncodedDescriptor<'a> {
    /// `header.payload_len` is taken from the payload; queues hold `capacity` bytes.
    pub(super) fn new(
        mut header: Header,
        payload: &'a [u8],
        capacity: usize,
    ) -> EncodedDescriptor<'a> {
        header.payload_len = u32::try_from(payload.len()).expect("payloads are at most 64 KiB");
        let fill_limit = fill_limit(&header, capacity);
        EncodedDescriptor {
            kind: header.kind,
            header: header.encode(),
            payload,
            capacity,
            fill_limit,
        }
    }

    /// Bytes on the wire.
    pub(super) fn len(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The header as it is sent.
    pub(super) fn header(&self) -> Header {
        Header::decode(&self.header)
    }

    /// The two parts, in the order they are sent.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.header, self.payload]
    }

    /// Capacity of the queues it is meant for, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// See [`fill_limit`].
    pub(super) fn fill_limit(&self) -> usize {
        self.fill_limit
    }
}

/// The fill, in bytes, at which a queue of `capacity` bytes refuses this class of descriptor.
/// Broadcasts go first, since their answers could hardly come back; QueryHits go last.
pub(super) fn fill_limit(header: &Header, capacity: usize) -> usize {
    // Among broadcasts the far-travelled go first: each hop lowers their limit by a 32nd.
    let far = usize::from(header.hops.min(8)) * capacity / 32;
    match header.kind {
        Kind::Ping | Kind::Query => capacity / 2 - far,
        Kind::Pong | Kind::Push => capacity / 4 * 3,
        _ => capacity,
    }
}

/// Headers and payloads of bytes that are whole descriptors.
pub(super) fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk().map(Header::decode)?;
        let (one, behind) = rest.split_at(descriptor_len(rest));
        rest = behind;
        Some((header, &one[HEADER_BYTES..]))
    })
}

/// The length of the descriptor that starts at the front of `bytes`.
pub(super) fn descriptor_len(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk().map(Header::decode);
    let payload = header.expect("whole descriptors were queued").payload_len;
    HEADER_BYTES + payload as usize
}
