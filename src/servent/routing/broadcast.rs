//! Broadcasts waiting to be copied to the send queues of all the links they go to.

use super::router::Targets;
use crate::servent::encoded::{descriptors, fill_limit};
use crate::stats::PerKind;
use crate::wire::{Header, MAX_QUERY_BYTES};
use std::sync::Arc;

/// A batch of at least this many bytes is shared by idle queues instead of copied to each. Longer
/// than any single broadcast.
const SHARED_FROM_BYTES: usize = 2 * MAX_QUERY_BYTES;

/// Broadcasts of one read, one after the other in wire form, all for the same links.
#[derive(Debug, Default)]
pub(in crate::servent) struct BroadcastBatch {
    bytes: Vec<u8>,
    /// The last batch that was shared, or this one: kept for its buffer.
    long: Option<Arc<Vec<u8>>>,
    is_long: bool,
    /// `None` while the batch is empty.
    targets: Option<Targets>,
    copies: PerKind,
    /// The lowest [`fill_limit`] of the descriptors in it.
    fill_limit: usize,
}

impl BroadcastBatch {
    /// Appends `frame` with the header `next`, which differs from its own in TTL and hops only.
    /// The batch is empty, or for the same targets.
    #[inline]
    pub(in crate::servent) fn append(
        &mut self,
        targets: Targets,
        next: &Header,
        frame: &[u8],
        capacity: usize,
    ) {
        let limit = fill_limit(next, capacity);
        if self.targets.is_none() {
            (self.targets, self.fill_limit) = (Some(targets), limit);
        }
        debug_assert_eq!(self.targets, Some(targets), "one batch has one set of targets");
        self.fill_limit = self.fill_limit.min(limit);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        next.patch_travel(&mut self.bytes[begin..]);
        self.copies.add(next.kind);
    }

    /// Links the batch goes to; `None` while it is empty.
    #[inline]
    pub(in crate::servent) fn targets(&self) -> Option<Targets> {
        self.targets
    }

    /// Descriptors in it, by kind.
    pub(in crate::servent) fn copies(&self) -> &PerKind {
        &self.copies
    }

    /// See [`fill_limit`]: that of the class refused first.
    pub(in crate::servent) fn fill_limit(&self) -> usize {
        self.fill_limit
    }

    /// Nothing more is appended before the next [`BroadcastBatch::clear`].
    pub(in crate::servent) fn seal(&mut self) {
        self.is_long = self.bytes.len() >= SHARED_FROM_BYTES;
        if !self.is_long {
            return;
        }
        match self.long.as_mut().and_then(Arc::get_mut) {
            Some(last) => std::mem::swap(last, &mut self.bytes),
            None => self.long = Some(Arc::new(std::mem::take(&mut self.bytes))),
        }
    }

    /// The sealed batch, if it is long enough to be shared.
    pub(in crate::servent) fn shared(&self) -> Option<&Arc<Vec<u8>>> {
        self.long.as_ref().filter(|_| self.is_long)
    }

    /// The descriptors in wire form.
    pub(in crate::servent) fn bytes(&self) -> &[u8] {
        self.shared().map_or(&self.bytes, |batch| batch)
    }

    /// The descriptors one by one, in order.
    pub(in crate::servent) fn descriptors(&self) -> impl Iterator<Item = (Header, &[u8])> {
        descriptors(self.bytes())
    }

    /// Empties the batch and keeps its buffers.
    pub(in crate::servent) fn clear(&mut self) {
        self.bytes.clear();
        self.copies.reset();
        (self.targets, self.is_long) = (None, false);
    }
}
