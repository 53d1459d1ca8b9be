//! What one copy may look like beside the descriptor it is a copy of.

use super::violation::{Rule, Violation};
use crate::wire::Header;
use std::collections::BTreeSet;

/// A copy has crossed one link more for one TTL less. It may have lost more TTL, to a horizon.
///
/// # Errors
/// [`Rule::HopsCount`] or [`Rule::TtlNeverGrows`].
#[inline]
pub fn travel(had: (u8, u8), sent: (u8, u8)) -> Result<(), Violation> {
    let ((ttl, hops), (new_ttl, new_hops)) = (had, sent);
    if u16::from(new_hops) == u16::from(hops) + 1 && (1..ttl).contains(&new_ttl) {
        return Ok(());
    }
    Err(broken_travel(had, sent))
}

#[cold]
fn broken_travel((ttl, hops): (u8, u8), (new_ttl, new_hops): (u8, u8)) -> Violation {
    let rule = match u16::from(new_hops) == u16::from(hops) + 1 {
        true => Rule::TtlNeverGrows,
        false if new_ttl >= ttl && new_hops > hops => Rule::TtlNeverGrows,
        false => Rule::HopsCount,
    };
    let text =
        format!("sent TTL {new_ttl}, hops {new_hops} of what it had with TTL {ttl}, hops {hops}");
    Violation::new(rule, text)
}

/// Like [`travel`], for a whole descriptor, whose payload and GUID must be untouched.
///
/// # Errors
/// See [`travel`]; and [`Rule::Unchanged`].
pub fn copy(had: (&Header, &[u8]), sent: (&Header, &[u8])) -> Result<(), Violation> {
    let ((had, payload), (sent, new_payload)) = (had, sent);
    travel((had.ttl, had.hops), (sent.ttl, sent.hops))?;
    if (had.guid, had.kind) == (sent.guid, sent.kind) && payload == new_payload {
        return Ok(());
    }
    Err(Violation::new(Rule::Unchanged, format!("sent {sent:?} as a copy of {had:?}")))
}

/// All copies that a node made of a descriptor that came by the link `from`: none goes back, and
/// each link gets one.
///
/// # Errors
/// [`Rule::NotBackToSource`], [`Rule::ForwardedOnce`]; and see [`copy`].
pub fn copies<'a, L: Copy + Ord>(
    from: L,
    had: (&Header, &[u8]),
    sent: impl IntoIterator<Item = (L, (&'a Header, &'a [u8]))>,
) -> Result<(), Violation> {
    let mut links = BTreeSet::new();
    for (to, sent) in sent {
        if to == from {
            return Err(Violation::new(Rule::NotBackToSource, format!("sent {had:?} back")));
        }
        if !links.insert(to) {
            return Err(Violation::new(Rule::ForwardedOnce, format!("sent {had:?} twice")));
        }
        copy(had, sent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    #[test]
    fn a_copy_costs_one_ttl_at_least_and_one_hop_exactly() {
        let rule = |had, sent| travel(had, sent).err().map(|violation| violation.rule);
        assert_eq!(rule((7, 0), (6, 1)), None);
        assert_eq!(rule((10, 2), (4, 3)), None, "trimmed to a horizon");
        assert_eq!(rule((7, 0), (7, 1)), Some(Rule::TtlNeverGrows));
        assert_eq!(rule((7, 0), (9, 1)), Some(Rule::TtlNeverGrows));
        assert_eq!(rule((1, 0), (0, 1)), Some(Rule::TtlNeverGrows), "it had to end here");
        assert_eq!(rule((7, 1), (6, 1)), Some(Rule::HopsCount));
        assert_eq!(rule((7, 1), (6, 3)), Some(Rule::HopsCount));
        assert_eq!(rule((255, 255), (254, 0)), Some(Rule::HopsCount));
    }

    #[test]
    fn a_copy_is_otherwise_untouched() {
        let header = |ttl, hops| Header {
            guid: Guid([1; 16]),
            kind: Kind::Query,
            ttl,
            hops,
            payload_len: 1,
        };
        let (had, sent) = (header(7, 0), header(6, 1));
        assert_eq!(copy((&had, b"x"), (&sent, b"x")), Ok(()));
        let other = Header { guid: Guid([2; 16]), ..sent };
        for (sent, payload) in [(&sent, b"y"), (&other, b"x")] {
            let found = copy((&had, b"x"), (sent, payload)).map_err(|found| found.rule);
            assert_eq!(found, Err(Rule::Unchanged));
        }
        for (links, broken) in [
            (&[2, 3][..], None),
            (&[2, 1], Some(Rule::NotBackToSource)),
            (&[2, 2], Some(Rule::ForwardedOnce)),
        ] {
            let all = links.iter().map(|link| (*link, (&sent, &b"x"[..])));
            let found = copies(1, (&had, b"x"), all).err().map(|found| found.rule);
            assert_eq!(found, broken);
        }
    }
}
