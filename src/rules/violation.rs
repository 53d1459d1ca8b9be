//! The rules by name, and how one of them was broken.

use crate::time::Instant;
use std::fmt;

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What happened, in one sentence.
    pub detail: String,
}

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A copy has less TTL than the descriptor its sender had.
    TtlNeverGrows,
    /// Hops count the links crossed.
    HopsCount,
    /// The payload of a copy is that of the descriptor its sender had.
    Unchanged,
    /// A node passes on only what it has received.
    OnlyWhatCame,
    /// A descriptor never goes back on the link it first came by.
    NotBackToSource,
    /// A node sends a Ping, Query or Push once on each link.
    ForwardedOnce,
    /// A reply goes only where the Ping or Query came from, a Push only where hits of its servent
    /// came from.
    ReversePath,
    /// Copies queued are those that arrived, were lost with their link, or are still on the way.
    NothingLost,
    /// A Query reaches the nodes within TTL links: all of them at equal latency.
    Reach,
    /// A flood over a whole component costs 2E − (N − 1) descriptors.
    FloodCost,
    /// A leaf sends only what is its own.
    LeafNeverRelays,
    /// A leaf gets no Query that its route table does not match.
    LeafGetsMatches,
    /// No table holds more than its limit.
    Bounded,
}

impl Rule {
    /// What must hold, in words for people.
    pub fn statement(self) -> &'static str {
        match self {
            Rule::TtlNeverGrows => "each link costs at least one TTL",
            Rule::HopsCount => "hops count the links crossed",
            Rule::Unchanged => "what is forwarded is not changed",
            Rule::OnlyWhatCame => "nothing is forwarded that did not come",
            Rule::NotBackToSource => "nothing goes back on the link it came from",
            Rule::ForwardedOnce => {
                "no Ping, Query or Push is forwarded twice to the same neighbour"
            }
            Rule::ReversePath => "replies go back the way their Ping or Query came",
            Rule::NothingLost => "every copy sent is received, lost with its link, or on its way",
            Rule::Reach => "a Query reaches the nodes within its TTL",
            Rule::FloodCost => "a flood costs each link twice, less the links of a tree",
            Rule::LeafNeverRelays => "a leaf passes nothing on",
            Rule::LeafGetsMatches => "a leaf gets no Query that its table does not match",
            Rule::Bounded => "no table holds more than its limit",
        }
    }
}

impl Violation {
    pub(super) fn new(rule: Rule, detail: impl Into<String>) -> Violation {
        Violation { rule, detail: detail.into() }
    }

    /// The same, with the name of the node that broke the rule.
    #[must_use]
    pub fn by(self, who: impl fmt::Display) -> Violation {
        Violation { detail: format!("{who} {}", self.detail), ..self }
    }

    /// The same, with the virtual time it was noticed at.
    #[must_use]
    pub fn at(mut self, now: Instant) -> Violation {
        let seconds = now.since(Instant::ZERO).as_secs_f64();
        self.detail.push_str(&format!(" (at {seconds:.6} s of virtual time)"));
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Violation {}
