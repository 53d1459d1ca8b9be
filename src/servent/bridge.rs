//! The bridge between dialects: every change that is made to bytes which are passed on. Functions
//! without state, from a payload and what is known of the link it goes to.
//!
//! | kind | towards | change | because |
//! |---|---|---|---|
//! | Query | 0.6 | speed `00 00` becomes `80 00`: flags, none set | gtk-gnutella drops speed 0 as ancient |
//! | Query | 0.6 without GGEP | GGEP blocks go | that link announced that it does not read them |
//! | Query | 0.4 | flags become speed `01 00` | GNU Serveez reads flags as a speed, and is silent below it |
//! | Query | 0.4 | GGEP blocks go; `urn:` and all other blocks stay | 0.4 has no GGEP; Serveez drops Queries over 257 bytes |
//! | QueryHit | 0.6 | without a trailer it gets one: `BRDG`, no flag valid | gtk-gnutella takes a hit without one for spam |
//! | QueryHit | 0.4 | what stands between the NULs of a result goes, but for `urn:` if the Query asked for URNs | Serveez rejects the whole hit |
//! | Push | 0.4 | cut to 26 bytes | Serveez accepts no other size |
//! | Ping | 0.4 | cut to 0 bytes | Serveez ignores a Ping with payload |
//! | Pong | 0.4 | cut to 14 bytes | Serveez accepts no other size |
//! | Query | 0.6 | TTL cut to the neighbour's X-Max-TTL | gtk-gnutella counts higher ones against the link |
//!
//! Everything else travels byte for byte, extensions of unknown kinds included. Between two 0.4 links
//! nothing is translated. A speed of 0.4 whose low byte is 128 or more cannot be told from flags: it
//! arrives as `01 00` behind two bridges.
//!
//! Translating twice is translating once. What cannot be read is left as it is, since only payloads
//! that were decoded before are passed on.

use crate::wire::ggep::{Ggep, MAGIC};
use crate::wire::huge::SEPARATOR;
use crate::wire::{
    Kind, MAX_PAYLOAD_BYTES, MinSpeed, PONG_BYTES, PUSH_BYTES, Query, QueryHit, Trailer,
};
use std::borrow::Cow;

/// Vendor code of trailers that a bridge adds: the program that answered is not known. In use by no
/// servent.
const BRIDGE_VENDOR: [u8; 4] = *b"BRDG";
/// Open data of such a trailer: no flag is valid, so none of them claims anything.
const NO_FLAGS: [u8; 2] = [0, 0];
/// Flags that say no more than that they are flags.
const PLAIN_FLAGS: MinSpeed = MinSpeed::Flags(0x8000);

/// The link that bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Towards {
    /// It speaks 0.4.
    V0_4 {
        /// Of a QueryHit: its Query, by GUID, asked for URNs.
        urns_wanted: bool,
    },
    /// It speaks 0.6.
    V0_6 {
        /// It announced that it reads GGEP.
        ggep: bool,
    },
}

/// The payload as it is to be sent to a link of another dialect than the one it came from, or to one
/// of 0.6. Borrowed if nothing changes.
pub(super) fn translate(kind: Kind, payload: &[u8], to: Towards) -> Cow<'_, [u8]> {
    match (kind, to) {
        (Kind::Query, _) => query(payload, to),
        (Kind::QueryHit, Towards::V0_6 { .. }) => hit_to_06(payload),
        (Kind::QueryHit, Towards::V0_4 { urns_wanted }) => hit_to_04(payload, urns_wanted),
        (Kind::Ping, Towards::V0_4 { .. }) => cut(payload, 0),
        (Kind::Pong, Towards::V0_4 { .. }) => cut(payload, PONG_BYTES),
        (Kind::Push, Towards::V0_4 { .. }) => cut(payload, PUSH_BYTES),
        _ => Cow::Borrowed(payload),
    }
}

/// A Query of our own as 0.6 links get it: with flags in place of a speed.
pub(super) fn own_query(payload: &[u8]) -> Cow<'_, [u8]> {
    let Ok(query) = Query::decode(payload) else { return Cow::Borrowed(payload) };
    let mut out = Vec::with_capacity(payload.len());
    Query { speed: PLAIN_FLAGS, ..query }.encode(&mut out);
    Cow::Owned(out)
}

/// The TTL towards a neighbour that announced the largest it takes. Never more than it was.
pub(super) fn ttl(ttl: u8, max_ttl: Option<u8>) -> u8 {
    max_ttl.map_or(ttl, |max| ttl.min(max.max(1)))
}

/// Whether a Query asks for URNs, so that those in its hits pass to 0.4 links.
pub(super) fn wants_urns(query: &Query<'_>) -> bool {
    blocks(query.extension).any(|(kind, _)| kind == Block::Urn)
}

fn cut(payload: &[u8], len: usize) -> Cow<'_, [u8]> {
    Cow::Borrowed(payload.get(..len).unwrap_or(payload))
}

fn query(payload: &[u8], to: Towards) -> Cow<'_, [u8]> {
    let Ok(query) = Query::decode(payload) else { return Cow::Borrowed(payload) };
    let (speed, takes_ggep) = match (to, query.speed) {
        (Towards::V0_6 { ggep }, MinSpeed::Kbps(0)) => (PLAIN_FLAGS, ggep),
        (Towards::V0_6 { ggep }, speed) => (speed, ggep),
        (Towards::V0_4 { .. }, MinSpeed::Flags(_)) => (MinSpeed::ANY, false),
        (Towards::V0_4 { .. }, speed) => (speed, false),
    };
    let extension = match takes_ggep {
        true => Cow::Borrowed(query.extension),
        false => keep_blocks(query.extension, |kind| kind != Block::Ggep),
    };
    if speed == query.speed && extension.len() == query.extension.len() {
        return Cow::Borrowed(payload);
    }
    let mut out = Vec::with_capacity(payload.len());
    Query { speed, extension: &extension, ..query }.encode(&mut out);
    Cow::Owned(out)
}

fn hit_to_06(payload: &[u8]) -> Cow<'_, [u8]> {
    let Ok(mut hit) = QueryHit::decode(payload) else { return Cow::Borrowed(payload) };
    if !hit.trailer_bytes.is_empty() {
        return Cow::Borrowed(payload);
    }
    let mut trailer = Vec::new();
    let vendor = Trailer { vendor: BRIDGE_VENDOR, open: &NO_FLAGS, private: &[] };
    vendor.encode(&mut trailer);
    if payload.len() + trailer.len() > MAX_PAYLOAD_BYTES {
        // The largest hit has no room for one; gtk-gnutella relays none above 16 KiB.
        return Cow::Borrowed(payload);
    }
    hit.trailer_bytes = &trailer;
    let mut out = Vec::with_capacity(payload.len() + trailer.len());
    hit.encode(&mut out);
    Cow::Owned(out)
}

fn hit_to_04(payload: &[u8], urns_wanted: bool) -> Cow<'_, [u8]> {
    let Ok(hit) = QueryHit::decode(payload) else { return Cow::Borrowed(payload) };
    let is_urn = |kind| kind == Block::Urn;
    let kept = |area| match urns_wanted && blocks(area).any(|(kind, _)| is_urn(kind)) {
        true => keep_blocks(area, is_urn),
        false => Cow::Borrowed(&[][..]),
    };
    if hit.results().all(|result| kept(result.extension).len() == result.extension.len()) {
        return Cow::Borrowed(payload);
    }
    let mut results = Vec::with_capacity(payload.len());
    for result in hit.results() {
        result.encode_with(&kept(result.extension), &mut results);
    }
    let mut out = Vec::with_capacity(payload.len());
    hit.encode_with(&results, &mut out);
    Cow::Owned(out)
}

/// What a block of an extension area is, as far as the bridge cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Begins with `urn:`.
    Urn,
    /// GGEP, or bytes to the end that begin as GGEP does.
    Ggep,
    /// One byte between two blocks, or a NUL.
    Separator,
    /// Of any other kind.
    Other,
}

/// The pieces of an extension area, separators and NULs included: together they are the area.
fn blocks(area: &[u8]) -> impl Iterator<Item = (Block, &[u8])> {
    let mut rest = area;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let is_end = |byte: &u8| [SEPARATOR, 0].contains(byte);
        let (kind, len) = match first {
            MAGIC => {
                (Block::Ggep, Ggep::decode(rest).map_or(rest.len(), |(ggep, _)| ggep.bytes().len()))
            }
            _ if is_end(&first) => (Block::Separator, 1),
            _ => {
                let len = rest.iter().position(is_end).unwrap_or(rest.len());
                let prefix = rest[..len].get(..4);
                let is_urn = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"urn:"));
                (if is_urn { Block::Urn } else { Block::Other }, len)
            }
        };
        let (block, behind) = rest.split_at(len);
        rest = behind;
        Some((kind, block))
    })
}

/// The area without the blocks that are not to be kept, one separator between each two of the others.
/// Borrowed if all are kept.
fn keep_blocks(area: &[u8], keep: impl Fn(Block) -> bool) -> Cow<'_, [u8]> {
    let stays = |kind: Block| kind == Block::Separator || keep(kind);
    if blocks(area).all(|(kind, _)| stays(kind)) {
        return Cow::Borrowed(area);
    }
    let kept: Vec<&[u8]> = blocks(area)
        .filter(|(kind, _)| *kind != Block::Separator && keep(*kind))
        .map(|(_, block)| block)
        .collect();
    Cow::Owned(kept.join(&SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::ggep::GgepBuilder;
    use crate::wire::huge::{self, AreaBlock};
    use crate::wire::{ServentId, Urn};

    const V0_4: Towards = Towards::V0_4 { urns_wanted: false };
    const V0_4_URNS: Towards = Towards::V0_4 { urns_wanted: true };
    const V0_6: Towards = Towards::V0_6 { ggep: true };
    const V0_6_NO_GGEP: Towards = Towards::V0_6 { ggep: false };
    const ALL: [Towards; 4] = [V0_4, V0_4_URNS, V0_6, V0_6_NO_GGEP];
    const URN: &[u8] = b"urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N";
    const SEEDS: u64 = 2_000;

    fn ggep(nul_free: bool) -> Vec<u8> {
        let mut builder = if nul_free { GgepBuilder::nul_free() } else { GgepBuilder::new() };
        assert!(builder.add(b"LF", &[0, 0, 0, 0, 1]) && builder.add(b"M", &[4]));
        builder.finish()
    }

    /// An extension area of up to four blocks, some of them broken.
    fn area(rng: &mut Rng, nul_free: bool) -> Vec<u8> {
        let mut blocks = Vec::new();
        for _ in 0..rng.below(5) {
            blocks.push(match rng.below(8) {
                0 => b"urn:sha1:".to_vec(),
                1 => URN.to_vec(),
                2 => b"URN:bitprint:".to_vec(),
                3 => b"<audio title=\"x\"/>".to_vec(),
                4 => b"1 Mbit mp3".to_vec(),
                5 => [MAGIC, 0x82, b'L'].to_vec(),
                6 => Vec::new(),
                _ => ggep(nul_free),
            });
        }
        // GGEP ends by itself: what follows it may have no separator.
        let between: &[u8] = if rng.below(4) == 0 { &[] } else { &[SEPARATOR] };
        blocks.join(between)
    }

    fn query_payload(rng: &mut Rng) -> Vec<u8> {
        let speeds = [[0, 0], [1, 0], [0x80, 0], [0x88, 0x0a], [0x64, 0], [0, 0x80]];
        let words: [&[u8]; 3] = [b"free bsd", b"\\", b""];
        let speed = speeds[rng.below(speeds.len())];
        [&speed, words[rng.below(3)], &[0], &area(rng, false)].concat()
    }

    fn hit_payload(rng: &mut Rng) -> Vec<u8> {
        let count = 1 + rng.below(3);
        let mut out = vec![u8::try_from(count).unwrap()];
        out.extend_from_slice(&rng.bytes16()[..10]);
        for _ in 0..count {
            out.extend_from_slice(&rng.bytes16()[..8]);
            out.extend_from_slice(b"a name.txt\0");
            out.extend_from_slice(&area(rng, true));
            out.push(0);
        }
        let trailers: [&[u8]; 4] = [b"", b"GTKG\x02\x2c\x21", b"LIME\x02\x3d\x39\xc3\x82BH@", b"x"];
        out.extend_from_slice(trailers[rng.below(4)]);
        out.extend_from_slice(&rng.bytes16());
        out
    }

    type Facts = (Vec<(u32, u32, Vec<u8>)>, ServentId, u32, std::net::SocketAddrV4);

    /// What the user of a hit sees.
    fn facts(payload: &[u8]) -> Facts {
        let hit = QueryHit::decode(payload).expect("decodes");
        let results = hit.results().map(|one| (one.index, one.size, one.name.to_vec())).collect();
        (results, hit.servent, hit.speed_kbps, hit.addr)
    }

    fn urns(area: &[u8]) -> Vec<Urn> {
        let urn = |block| if let AreaBlock::Urn(urn) = block { Some(urn) } else { None };
        huge::blocks(area).filter_map(urn).collect()
    }

    fn has_ggep(area: &[u8]) -> bool {
        huge::blocks(area).any(|b| matches!(b, AreaBlock::Ggep(_) | AreaBlock::BadGgep(..)))
    }

    #[test]
    fn each_row_of_the_table() {
        let to = |kind, payload: &[u8], to| translate(kind, payload, to).into_owned();
        assert_eq!(to(Kind::Query, b"\0\0free\0", V0_6), b"\x80\0free\0");
        assert_eq!(to(Kind::Query, b"\0\0free\0", V0_4), b"\0\0free\0");
        assert_eq!(to(Kind::Query, b"\x88\x0afree\0", V0_4), b"\x01\0free\0");
        let rich = [b"\x01\0free\0urn:sha1:\x1c", &ggep(false)[..]].concat();
        assert_eq!(to(Kind::Query, &rich, V0_6_NO_GGEP), b"\x01\0free\0urn:sha1:");
        assert_eq!(to(Kind::Query, &rich, V0_4), b"\x01\0free\0urn:sha1:");
        assert_eq!(to(Kind::Query, &rich, V0_6), rich);

        let bridged = to(Kind::QueryHit, SERVEEZ_HIT, V0_6);
        let hit = QueryHit::decode(&bridged).unwrap();
        let trailer = hit.trailer().expect("one was added");
        assert_eq!((&trailer.vendor, trailer.push(), trailer.busy()), (b"BRDG", None, None));
        assert_eq!(trailer.private, b"");

        assert_eq!(to(Kind::Ping, &ggep(false), V0_4), b"");
        assert_eq!(to(Kind::Pong, &[7; 41], V0_4), [7; PONG_BYTES]);
        assert_eq!(to(Kind::Push, &[7; 32], V0_4), [7; PUSH_BYTES]);
        assert_eq!((ttl(7, Some(4)), ttl(3, Some(4)), ttl(7, None), ttl(2, Some(0))), (4, 3, 7, 1));
    }

    /// GNU Serveez' kind of hit: one result, no trailer.
    const SERVEEZ_HIT: &[u8] =
        b"\x01\xca\x18\xc0\0\x02\x0a\x5e\x01\0\0\x07\0\0\0\x05\0\0\0hello.txt\0\0abcdefghijklmnop";

    #[test]
    fn queries_keep_words_and_urns_and_lose_ggep_only_where_it_is_not_read() {
        for seed in 0..SEEDS {
            let payload = query_payload(&mut Rng::new(seed));
            let before = Query::decode(&payload).unwrap();
            for to in ALL {
                let after = translate(Kind::Query, &payload, to);
                let read = Query::decode(&after).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                assert_eq!(read.criteria, before.criteria, "seed {seed}, {to:?}");
                assert_eq!(urns(read.extension), urns(before.extension), "seed {seed}, {to:?}");
                assert_eq!(wants_urns(&read), wants_urns(&before), "seed {seed}, {to:?}");
                let is_04 = matches!(to, Towards::V0_4 { .. });
                assert!(!is_04 || !matches!(read.speed, MinSpeed::Flags(_)), "seed {seed}");
                assert!(is_04 || read.speed != MinSpeed::Kbps(0), "seed {seed}");
                let kept = to == V0_6;
                let expected = kept && has_ggep(before.extension);
                assert_eq!(has_ggep(read.extension), expected, "seed {seed}, {to:?}");
            }
        }
    }

    #[test]
    fn hits_keep_results_and_servent_and_lose_extensions_only_towards_04() {
        for seed in 0..SEEDS {
            let payload = hit_payload(&mut Rng::new(seed));
            let before = QueryHit::decode(&payload).unwrap();
            for to in ALL {
                let after = translate(Kind::QueryHit, &payload, to);
                assert_eq!(facts(&after), facts(&payload), "seed {seed}, {to:?}");
                let read = QueryHit::decode(&after).unwrap();
                for (one, was) in read.results().zip(before.results()) {
                    match to {
                        V0_4 => assert_eq!(one.extension, b"", "seed {seed}"),
                        V0_4_URNS => {
                            assert_eq!(urns(one.extension), urns(was.extension), "seed {seed}");
                            // Of an unknown kind, too.
                            let is_urn = |block: &AreaBlock<'_>| match block {
                                AreaBlock::Urn(_) => true,
                                AreaBlock::Other(text) => text[..4].eq_ignore_ascii_case(b"urn:"),
                                _ => false,
                            };
                            let rest = huge::blocks(one.extension).filter(|one| !is_urn(one));
                            assert_eq!(rest.count(), 0, "seed {seed}");
                        }
                        _ => assert_eq!(one.extension, was.extension, "seed {seed}"),
                    }
                }
                let is_06 = matches!(to, Towards::V0_6 { .. });
                assert!(!is_06 || !read.trailer_bytes.is_empty(), "seed {seed}");
                if !before.trailer_bytes.is_empty() || !is_06 {
                    assert_eq!(read.trailer_bytes, before.trailer_bytes, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn translating_twice_is_translating_once_and_what_needs_no_change_is_borrowed() {
        for seed in 0..SEEDS {
            let rng = &mut Rng::new(seed);
            for (kind, payload) in
                [(Kind::Query, query_payload(rng)), (Kind::QueryHit, hit_payload(rng))]
            {
                for to in ALL {
                    let once = translate(kind, &payload, to);
                    assert_eq!(matches!(once, Cow::Borrowed(_)), *once == payload, "seed {seed}");
                    let twice = translate(kind, &once, to);
                    assert!(matches!(twice, Cow::Borrowed(_)), "seed {seed}, {to:?}");
                }
            }
        }
    }

    #[test]
    fn what_crosses_06_between_two_04_networks_changes_only_as_the_table_says() {
        for seed in 0..SEEDS {
            let rng = &mut Rng::new(seed);
            // What 0.4 servents send: no extension, a real speed, and no trailer.
            let speed = [0, 1, 100][rng.below(3)];
            let query = [&[speed, 0][..], b"free bsd\0"].concat();
            let crossed = translate(Kind::Query, &query, V0_6).into_owned();
            let arrived = translate(Kind::Query, &crossed, V0_4);
            let expected = if speed == 0 { 1 } else { speed };
            assert_eq!(*arrived, [&[expected, 0][..], b"free bsd\0"].concat(), "seed {seed}");

            let hit = SERVEEZ_HIT;
            let crossed = translate(Kind::QueryHit, hit, V0_6).into_owned();
            let arrived = translate(Kind::QueryHit, &crossed, V0_4).into_owned();
            assert_eq!(arrived, crossed, "the trailer stays, and nothing else was added");
            assert_eq!(facts(&arrived), facts(hit));
            for (kind, len) in [(Kind::Ping, 0), (Kind::Pong, PONG_BYTES), (Kind::Push, PUSH_BYTES)]
            {
                let payload = vec![9; len];
                let crossed = translate(kind, &payload, V0_6).into_owned();
                assert_eq!(*translate(kind, &crossed, V0_4), payload);
            }
        }
    }

    #[test]
    fn other_kinds_malformed_payloads_and_the_largest_hit_pass_unchanged() {
        let mut largest = SERVEEZ_HIT.to_vec();
        let at = largest.len() - 18;
        largest.splice(at..at, vec![b'x'; MAX_PAYLOAD_BYTES - largest.len()]);
        assert!(QueryHit::decode(&largest).is_ok_and(|hit| hit.trailer_bytes.is_empty()));
        for (kind, payload) in [
            (Kind::QueryHit, &largest[..]),
            (Kind::QueryHit, b"\x05short"),
            (Kind::Query, b"\0\0no nul"),
            (Kind::Other(0x30), b"\0\0\0\x01\0\x07"),
            (Kind::Bye, b"\xc8\0bye\0"),
        ] {
            for to in ALL {
                assert!(
                    matches!(translate(kind, payload, to), Cow::Borrowed(same) if same == payload)
                );
            }
        }
    }
}
