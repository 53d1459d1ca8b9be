//! What one copy may look like beside the descriptor it is a copy of.

use super::violation::{Rule, Violation};
use crate::wire::{Header, Kind, PONG_BYTES, PUSH_BYTES, Query, QueryHit};
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

/// Like [`copy`], for links of which one at least speaks 0.6: what no dialect changes must be untouched.
///
/// # Errors
/// See [`travel`] and [`same_meaning`].
pub fn copy_across(had: (&Header, &[u8]), sent: (&Header, &[u8])) -> Result<(), Violation> {
    travel((had.0.ttl, had.0.hops), (sent.0.ttl, sent.0.hops))?;
    same_meaning(had, sent)
}

/// A descriptor may be translated between dialects: it keeps its GUID and kind, and the
/// [`essence`] of its payload.
///
/// # Errors
/// [`Rule::Unchanged`].
pub fn same_meaning(had: (&Header, &[u8]), sent: (&Header, &[u8])) -> Result<(), Violation> {
    let ((had, payload), (sent, new_payload)) = (had, sent);
    if (had.guid, had.kind) == (sent.guid, sent.kind)
        && essence(had.kind, payload) == essence(had.kind, new_payload)
    {
        return Ok(());
    }
    Err(Violation::new(Rule::Unchanged, format!("sent {sent:?} as a translation of {had:?}")))
}

/// What no dialect changes of a payload:
///
/// | kind | essence |
/// |---|---|
/// | Ping | nothing |
/// | Pong | its first 14 bytes |
/// | Query | the criteria |
/// | QueryHit | address, speed, servent id; number, size and name of each result |
/// | Push | its first 26 bytes |
///
/// All of it, for other kinds and of what cannot be read.
pub fn essence(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let first = |count: usize| payload[..payload.len().min(count)].to_vec();
    match kind {
        Kind::Ping => Vec::new(),
        Kind::Pong => first(PONG_BYTES),
        Kind::Push => first(PUSH_BYTES),
        Kind::Query => match Query::decode(payload) {
            Ok(query) => query.criteria.to_vec(),
            Err(_) => payload.to_vec(),
        },
        Kind::QueryHit => match QueryHit::decode(payload) {
            Ok(mut hit) => {
                hit.trailer_bytes = &[];
                let mut results = Vec::new();
                hit.results().for_each(|result| result.encode_with(&[], &mut results));
                let mut out = Vec::new();
                hit.encode_with(&results, &mut out);
                out
            }
            Err(_) => payload.to_vec(),
        },
        Kind::Bye | Kind::Other(_) => payload.to_vec(),
    }
}

/// All copies that a node made of a descriptor that came by the link `from`: none goes back, and
/// each link gets one, which `judge` finds in order.
///
/// # Errors
/// [`Rule::NotBackToSource`], [`Rule::ForwardedOnce`]; and what `judge` says.
pub fn copies<'a, L: Copy + Ord>(
    from: L,
    had: &Header,
    sent: impl IntoIterator<Item = (L, (&'a Header, &'a [u8]))>,
    judge: impl Fn(L, (&'a Header, &'a [u8])) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut links = BTreeSet::new();
    for (to, sent) in sent {
        if to == from {
            return Err(Violation::new(Rule::NotBackToSource, format!("sent {had:?} back")));
        }
        if !links.insert(to) {
            return Err(Violation::new(Rule::ForwardedOnce, format!("sent {had:?} twice")));
        }
        judge(to, sent)?;
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
            let judge = |_, sent| copy((&had, b"x"), sent);
            let found = copies(1, &had, all, judge).err().map(|found| found.rule);
            assert_eq!(found, broken);
        }
    }

    #[test]
    fn a_translation_keeps_what_no_dialect_changes() {
        let kept = |kind, had: &[u8], sent: &[u8]| {
            let header =
                |ttl, hops| Header { guid: Guid([1; 16]), kind, ttl, hops, payload_len: 0 };
            copy_across((&header(7, 0), had), (&header(6, 1), sent)).is_ok()
        };
        let hit = |name: &[u8], between: &[u8], trailer: &[u8]| {
            let head = [&[1][..], &[7; 10], &[0; 8], name, &[0]].concat();
            [&head[..], between, &[0], trailer, &[9; 16]].concat()
        };
        assert!(kept(Kind::Query, b"\0\0free\0", b"\x80\0free\0urn:sha1:"));
        assert!(!kept(Kind::Query, b"\0\0free\0", b"\0\0fee\0"));
        assert!(kept(Kind::QueryHit, &hit(b"a", b"urn:x", b""), &hit(b"a", b"", b"BRDG\x02\0\0")));
        assert!(!kept(Kind::QueryHit, &hit(b"a", b"", b""), &hit(b"b", b"", b"")));
        assert!(kept(Kind::Push, &[3; 40], &[3; 26]) && !kept(Kind::Push, &[3; 26], &[4; 26]));
        assert!(kept(Kind::Pong, &[3; 40], &[3; 14]) && !kept(Kind::Pong, &[3; 14], &[4; 14]));
        assert!(kept(Kind::Ping, b"x", b"") && !kept(Kind::Bye, b"x", b""));
    }
}
