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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::central::Central;
    use crate::lab::host::Host;
    use crate::lab::measure::{Known, measure};
    use crate::lab::{Cell, Failure, Options, SystemKind, Workload, addr_of};
    use crate::plan::topology::Graph;
    use crate::rng::Rng;
    use std::sync::Arc;

    /// Breaks one of its rules.
    struct Broken(&'static str);

    impl<P> Judge<P> for Broken {
        fn datagram(&mut self, _: &Passed<'_>) -> Verdict {
            self.settle("datagram")
        }

        fn settled(&mut self, live: &[(usize, &P)]) -> Verdict {
            assert_eq!(live.len(), 5);
            self.settle("settled")
        }

        fn ended(&mut self, live: &[(usize, &P)]) -> Verdict {
            assert_eq!(live.len(), 4, "one has died");
            self.settle("ended")
        }
    }

    impl Broken {
        fn settle(&self, what: &str) -> Verdict {
            if self.0 == what { Err(what.to_owned()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_broken_rule_is_the_error_of_its_cell() {
        let (mut rng, options) = (Rng::new(1), Options::default());
        let graph = Graph::generate(&"ring".parse().unwrap(), 5, &mut rng).unwrap();
        let workload = Workload::new(5, &options, &mut rng);
        let (graph, workload, failure) = (&graph, &workload, Failure::Index);
        let (system, queries, ttl, seed) = (SystemKind::Central, 5, 7, 1);
        let cell = Cell { system, failure, graph, workload, queries, ttl, seed, options };
        let make = |node: usize, _, rng| {
            Host::new(Central::new(Arc::clone(&workload.files[node])), addr_of(node), rng)
        };
        let judged = |what| measure(&cell, Known::Directory, &make, Broken(what)).map(|_| ());
        for what in ["datagram", "settled", "ended"] {
            assert_eq!(judged(what), Err(what.to_owned()));
        }
        assert_eq!(judged("nothing"), Ok(()));
    }
}
