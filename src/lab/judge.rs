//! The rules of one system, held against what is seen of it from outside and against its nodes.
//!
//! A [`Judge`] sees each message and each crash, and all live nodes twice: when the network has
//! settled, before anything fails, and at the end of the cell. The first rule that does not hold is
//! the error of the cell, in its words.

use super::host::Told;
use crate::net::{Crossing, Passed};

/// What came of looking.
pub(super) type Verdict = Result<(), String>;

/// The rules of one system, whose nodes are `P`. The defaults have none.
pub(super) trait Judge<P> {
    /// A node tells the lab something.
    fn told(&mut self, _node: usize, _told: &Told) {}

    /// A descriptor was read from a link.
    fn crossed(&mut self, _crossing: &Crossing<'_>) -> Verdict {
        Ok(())
    }

    /// A datagram came to the end of its way.
    fn datagram(&mut self, _passed: &Passed<'_>) -> Verdict {
        Ok(())
    }

    /// A node loses its memory.
    fn crashed(&mut self, _node: usize) {}

    /// The network has settled; all of its nodes, by number.
    fn settled(&mut self, _live: &[(usize, &P)]) -> Verdict {
        Ok(())
    }

    /// The cell ends with these nodes.
    fn ended(&mut self, _live: &[(usize, &P)]) -> Verdict {
        Ok(())
    }
}

/// No rules but that of the meter: a copy that is named is there.
impl<P> Judge<P> for () {}

/// One rule, for when the network has settled.
pub(super) struct Settled<F>(pub(super) F);

impl<P, F: FnMut(&[(usize, &P)]) -> Verdict> Judge<P> for Settled<F> {
    fn settled(&mut self, live: &[(usize, &P)]) -> Verdict {
        self.0(live)
    }
}
