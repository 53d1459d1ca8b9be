//! The rules of any Gnutella network, checked from outside. The only statement of them: simulator,
//! fuzz targets, `testnet check` and tests all ask here.
//!
//! Nothing here trusts a servent: rules are judged by what was seen to cross links, and by counters
//! that are held against each other.
//!
//! | rule | what must hold | judged by |
//! |---|---|---|
//! | [`TtlNeverGrows`](Rule::TtlNeverGrows) | a copy has less TTL than what came | [`copy`], [`copy_across`], [`NodeRules`], [`Flood`] |
//! | [`HopsCount`](Rule::HopsCount) | and one hop more | the same |
//! | [`Unchanged`](Rule::Unchanged) | and the same payload; across dialects, the same [`essence`] | [`copy`], [`copy_across`], [`NodeRules`] |
//! | [`OnlyWhatCame`](Rule::OnlyWhatCame) | nothing is passed on that did not come | [`NodeRules`], [`Flood`] |
//! | [`NotBackToSource`](Rule::NotBackToSource) | nothing goes back on the link it came by | the same |
//! | [`ForwardedOnce`](Rule::ForwardedOnce) | a link gets one copy | the same |
//! | [`ReversePath`](Rule::ReversePath) | replies and Pushes go back the recorded way | the same |
//! | [`Reach`](Rule::Reach) | a Query reaches the nodes within its TTL | [`Flood`] |
//! | [`FloodCost`](Rule::FloodCost) | and costs 2E − (N − 1) copies | [`Flood`] |
//! | [`LeafNeverRelays`](Rule::LeafNeverRelays) | a leaf sends only what is its own | [`of_leaf`], [`Flood`] |
//! | [`LeafGetsMatches`](Rule::LeafGetsMatches) | a leaf gets no Query that its table does not match | [`Flood`] |
//! | [`NothingLost`](Rule::NothingLost) | every copy is somewhere | [`Ledger`] |
//! | [`Bounded`](Rule::Bounded) | no table grows beyond its limit | [`check_bound`] |

mod flood;
mod ledger;
mod node_rules;
mod one_copy;
mod roles;
mod violation;

pub use flood::{Flood, Scratch, unasked};
pub use ledger::{Ledger, check_bound};
pub use node_rules::{NodeRules, Sources};
pub use one_copy::{copies, copy, copy_across, essence, same_meaning, travel};
pub use roles::{RoleRules, of_leaf};
pub use violation::{Rule, Violation};
