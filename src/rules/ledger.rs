//! Conservation of copies, and bounds.

use super::violation::{Rule, Violation};

/// Where all copies of descriptors are. Queues and nodes are counted by the servents themselves,
/// wires by the network: neither can balance the sum alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Queued for a link, ever.
    pub queued: u64,
    /// Left their queue, to the last byte.
    pub sent: u64,
    /// Arrived whole, as nodes count.
    pub received: u64,
    /// Arrived whole, as seen on the wires.
    pub seen: u64,
    /// Still queued when the link ended.
    pub link_ended: u64,
    /// Still queued now.
    pub waiting: u64,
    /// Queued in nodes that crashed.
    pub crashed: u64,
    /// On wires that broke, or for sockets that were gone.
    pub lost: u64,
    /// On wires now.
    pub in_flight: u64,
}

impl Ledger {
    /// Nothing vanished and nothing came from nowhere.
    ///
    /// # Errors
    /// [`Rule::NothingLost`].
    pub fn check(&self) -> Result<(), Violation> {
        let kept = self.link_ended + self.waiting + self.crashed;
        let queues = self.queued == self.sent + kept;
        let wires = self.sent == self.received + self.lost + self.in_flight;
        if queues && wires && self.seen == self.received {
            return Ok(());
        }
        Err(Violation::new(Rule::NothingLost, format!("the copies do not add up: {self:?}")))
    }
}

/// At most `most` entries of `what` are held.
///
/// # Errors
/// [`Rule::Bounded`].
pub fn check_bound(what: &str, held: usize, most: usize) -> Result<(), Violation> {
    if held <= most {
        return Ok(());
    }
    Err(Violation::new(Rule::Bounded, format!("held {held} {what}, at most {most} are allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_nowhere_or_twice_is_missed() {
        let ledger = Ledger {
            queued: 36,
            sent: 15,
            received: 11,
            seen: 11,
            link_ended: 9,
            waiting: 7,
            crashed: 5,
            lost: 3,
            in_flight: 1,
        };
        assert!(ledger.check().is_ok());
        let wrong = [
            Ledger { queued: 37, ..ledger },
            Ledger { sent: 16, ..ledger },
            Ledger { sent: 16, queued: 37, ..ledger },
            Ledger { received: 12, ..ledger },
            Ledger { received: 12, sent: 16, queued: 37, ..ledger },
            Ledger { seen: 12, ..ledger },
            Ledger { link_ended: 8, ..ledger },
            Ledger { waiting: 8, ..ledger },
            Ledger { crashed: 4, ..ledger },
            Ledger { lost: 4, ..ledger },
            Ledger { in_flight: 0, ..ledger },
        ];
        for ledger in wrong {
            assert!(
                ledger.check().is_err_and(|found| found.rule == Rule::NothingLost),
                "{ledger:?}"
            );
        }
        assert!(check_bound("routes", 5, 5).is_ok());
        assert!(check_bound("routes", 6, 5).is_err_and(|found| found.rule == Rule::Bounded));
    }
}
