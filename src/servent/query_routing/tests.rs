//! Tables between servents, step by step: a peer is a [`QrpReceiver`] of its own.

use super::*;
use crate::library::LibraryBuilder;
use crate::rng::Rng;
use crate::wire::MinSpeed;
use crate::wire::qrp::{OWN_TABLE_BITS, PLAIN, Patch, QrpReceiver, word_hash};

const NOW: Instant = Instant::from_micros(1_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn link(index: u32) -> LinkKey {
    LinkKey::new(index, 0)
}

fn library(names: impl IntoIterator<Item = String>) -> Library {
    let mut builder = LibraryBuilder::new();
    for (number, name) in (0..).zip(names) {
        builder.add(number, &name, 1).unwrap();
    }
    loop {
        if let Some(library) = builder.step(1_000_000) {
            return library;
        }
    }
}

fn named(name: &str) -> Library {
    library([name.to_owned()])
}

fn table(words: &[&str]) -> QrpTable {
    QrpTable::of_words(words.iter().copied())
}

/// Applies a table's messages as if the link had sent them. Returns the units.
fn send(routing: &mut QueryRouting, from: LinkKey, messages: &[Vec<u8>]) -> u32 {
    let apply = |payload: &Vec<u8>| {
        let message = Qrp::decode(payload).unwrap();
        routing.handle_message(from, &message).unwrap().expect("a table is expected")
    };
    messages.iter().map(apply).sum()
}

fn read(routing: &mut QueryRouting, criteria: &str) -> u32 {
    let criteria = criteria.as_bytes();
    routing.read_query(&Query { speed: MinSpeed::ANY, criteria, extension: b"" })
}

fn leaves_for(routing: &mut QueryRouting, criteria: &str) -> Vec<LinkKey> {
    read(routing, criteria);
    let leaves: Vec<LinkKey> = routing.matching_leaves().collect();
    assert!(leaves.iter().all(|leaf| routing.admits(*leaf)));
    leaves
}

/// All steps due by `now`, and how many there were.
fn steps(routing: &mut QueryRouting, now: Instant, library: &Library) -> (Vec<TableUpdate>, usize) {
    let (mut updates, mut count) = (Vec::new(), 0);
    while routing.next_due().is_some_and(|at| at <= now) {
        updates.extend(routing.step(now, library));
        count += 1;
        assert!(count < 1_000_000, "it does not come to an end");
    }
    (updates, count)
}

/// What a peer makes of an update: the table, as far as it has one. Numbers begin at 1, none is
/// missing, and all is below 4 KiB.
fn receive(peer: &mut QrpReceiver, update: &TableUpdate) -> Option<QrpTable> {
    for payload in &*update.payloads {
        assert!(payload.len() < 4_096, "{}", payload.len());
        let message = Qrp::decode(payload).unwrap();
        if let Qrp::Patch(Patch { number, entry_bits, .. }) = message {
            assert!(number > 0 && entry_bits == 4);
        }
        peer.apply(&message).unwrap();
    }
    peer.table().cloned()
}

#[test]
fn a_leaf_gets_the_queries_of_which_it_has_all_words_and_none_before_its_table_is_complete() {
    let mut routing = QueryRouting::default();
    assert!(routing.is_idle());
    routing.link_up(NOW, link(1), Exchange::WithLeaf);
    routing.link_up(NOW, link(2), Exchange::WithLeaf);
    assert!(!routing.is_idle());
    let messages = table(&["gnutella", "notes"]).messages();
    assert_eq!(leaves_for(&mut routing, "gnutella"), []);
    for message in &messages {
        assert_eq!(leaves_for(&mut routing, "gnutella"), [], "not complete yet");
        assert!(!routing.admits(link(1)));
        send(&mut routing, link(1), std::slice::from_ref(message));
    }
    send(&mut routing, link(2), &table(&["notes"]).messages());
    assert_eq!(leaves_for(&mut routing, "gnutella"), [link(1)]);
    assert_eq!(leaves_for(&mut routing, "NOTES"), [link(1), link(2)]);
    assert_eq!(leaves_for(&mut routing, "gnutella notes"), [link(1)]);
    for nobody in ["gnutella bsd", "no", "*", ""] {
        assert_eq!(leaves_for(&mut routing, nobody), [], "{nobody}");
    }
    send(&mut routing, link(1), &messages[..1]);
    assert_eq!(leaves_for(&mut routing, "gnutella"), [], "gone with a RESET");
    routing.link_down(link(2));
    assert_eq!(leaves_for(&mut routing, "notes"), []);
}

#[test]
fn the_last_hop_to_an_ultrapeer_is_filtered_once_its_table_is_complete() {
    let mut routing = QueryRouting::default();
    routing.link_up(NOW, link(1), Exchange::BetweenUltrapeers);
    routing.link_up(NOW, link(2), Exchange::AsLeaf);
    routing.link_up(NOW, link(3), Exchange::None);
    read(&mut routing, "gnutella");
    assert!([1, 2, 3].iter().all(|n| routing.admits(link(*n))));
    send(&mut routing, link(1), &table(&["notes"]).messages());
    read(&mut routing, "gnutella");
    assert!(!routing.admits(link(1)) && routing.admits(link(2)) && routing.admits(link(3)));
    read(&mut routing, "notes");
    assert!(routing.admits(link(1)));
    assert_eq!(routing.matching_leaves().count(), 0, "an ultrapeer is no leaf");
    let reset = Qrp::Reset { slots: 16, infinity: 7 };
    for stranger in [2, 3, 4] {
        assert_eq!(routing.handle_message(link(stranger), &reset), Ok(None));
    }
}

#[test]
fn a_table_that_cannot_be_followed_is_an_error_and_gone() {
    let mut routing = QueryRouting::default();
    routing.link_up(NOW, link(1), Exchange::WithLeaf);
    let patch = |number, count, entry_bits| {
        Qrp::Patch(Patch { number, count, compressor: PLAIN, entry_bits, data: &[0; 8] })
    };
    let errors = [
        (patch(1, 1, 4), QrpError::NoReset),
        (Qrp::Reset { slots: 17, infinity: 7 }, QrpError::Slots(17)),
        (Qrp::Reset { slots: 16, infinity: 0 }, QrpError::Infinity),
        (patch(0, 1, 4), QrpError::Sequence { expected: 1, got: 0 }),
        (patch(1, 1, 3), QrpError::EntryBits(3)),
    ];
    for (message, error) in errors {
        if !matches!(error, QrpError::NoReset) {
            send(&mut routing, link(1), &table(&["notes"]).messages());
        }
        assert_eq!(routing.handle_message(link(1), &message), Err(error));
        assert_eq!(leaves_for(&mut routing, "notes"), []);
    }
}

#[test]
fn a_leaf_sends_its_table_at_once_and_then_only_what_changed() {
    let mut routing = QueryRouting::default();
    let first = named("gnutella notes.txt");
    assert_eq!(steps(&mut routing, NOW, &first).1, 0, "nothing is built for nobody");
    routing.link_up(NOW, link(1), Exchange::AsLeaf);
    let (updates, _) = steps(&mut routing, NOW, &first);
    let mut peer = QrpReceiver::default();
    assert_eq!(updates.len(), 1);
    let got = receive(&mut peer, &updates[0]).expect("complete");
    assert_eq!(got, table(&["gnutella", "notes", "txt"]));

    routing.library_changed();
    let second = named("gnutella bsd.txt");
    assert!(routing.next_due().is_some_and(|at| at > NOW), "not with each change of a folder");
    let later = NOW + MINUTE;
    let (updates, _) = steps(&mut routing, later, &second);
    assert!(updates[0].payloads.iter().all(|payload| payload[0] == 1), "no RESET");
    let bytes: usize = updates[0].payloads.iter().map(Vec::len).sum();
    assert!(bytes < 500, "{bytes}");
    assert_eq!(receive(&mut peer, &updates[0]).unwrap(), table(&["gnutella", "bsd", "txt"]));

    routing.library_changed();
    let (updates, _) = steps(&mut routing, later + MINUTE, &second);
    assert!(updates.is_empty(), "what did not change is not sent");
    assert_eq!(routing.next_due(), None);

    routing.link_up(later, link(2), Exchange::AsLeaf);
    let (updates, count) = steps(&mut routing, later, &second);
    assert_eq!((updates.len(), count), (1, 1), "it stands already");
    assert_eq!(updates[0].payloads[0][0], 0, "a new link gets all of it");
}

#[test]
fn a_large_library_is_built_in_slices_and_what_stands_stays_complete() {
    let mut routing = QueryRouting::default();
    let small = named("gnutella notes.txt");
    routing.link_up(NOW, link(1), Exchange::AsLeaf);
    let (updates, _) = steps(&mut routing, NOW, &small);
    let mut peer = QrpReceiver::default();
    receive(&mut peer, &updates[0]);
    let many = library((0..5_500).map(|n| format!("word{n} number.txt")));
    routing.library_changed();
    let later = NOW + MINUTE;
    assert!(routing.step(later, &many).is_none());
    routing.link_up(later, link(2), Exchange::AsLeaf);
    let update = routing.step(later, &many).expect("the table as it was");
    let mut second = QrpReceiver::default();
    assert_eq!(receive(&mut second, &update), peer.table().cloned());
    // It changes once more, in the middle.
    let few = library((0..2_500).map(|n| format!("word{n} number.txt")));
    routing.step(later, &few);
    routing.library_changed();
    let (updates, count) = steps(&mut routing, later, &few);
    assert_eq!((updates.len(), count), (2, 3 + 2));
    let words: Vec<String> = (0..2_500).map(|n| format!("word{n}")).collect();
    let expected = QrpTable::of_words(words.iter().map(String::as_str).chain(["number", "txt"]));
    assert_eq!(receive(&mut peer, &updates[0]).unwrap(), expected);
    assert!(Arc::ptr_eq(&updates[0].payloads, &updates[1].payloads), "encoded once");
}

#[test]
fn ultrapeers_get_what_we_and_our_leaves_share_once_a_minute() {
    let mut routing = QueryRouting::default();
    let own = named("gnutella notes.txt");
    for leaf in 0..100 {
        routing.link_up(NOW, link(leaf), Exchange::WithLeaf);
        send(&mut routing, link(leaf), &table(&[&format!("leaf{leaf}")]).messages());
    }
    assert_eq!(routing.next_due(), None, "nobody gets it");
    routing.link_up(NOW, link(200), Exchange::BetweenUltrapeers);
    let (updates, count) = steps(&mut routing, NOW, &own);
    assert!(count > 1 + 100 / 8, "{count} steps");
    let mut peer = QrpReceiver::default();
    let got = receive(&mut peer, &updates[0]).expect("complete");
    let has = |table: &QrpTable, word: &str| table.contains(word_hash(word));
    assert!(has(&got, "leaf0") && has(&got, "leaf99") && has(&got, "notes"));
    assert!(!has(&got, "bsd"));

    send(&mut routing, link(0), &table(&["bsd"]).messages());
    routing.link_down(link(99));
    for second in 1..60 {
        let (updates, count) = steps(&mut routing, NOW + Duration::from_secs(second), &own);
        assert_eq!((updates.len(), count), (0, 0), "second {second}");
    }
    let (updates, _) = steps(&mut routing, NOW + MINUTE, &own);
    let got = receive(&mut peer, &updates[0]).unwrap();
    assert!(has(&got, "bsd") && has(&got, "leaf1"));
    assert!(!has(&got, "leaf0") && !has(&got, "leaf99"), "gone with their leaves");

    // A leaf that sends the same again changes nothing that must be told.
    send(&mut routing, link(1), &table(&["leaf1"]).messages());
    assert!(steps(&mut routing, NOW + 2 * MINUTE, &own).0.is_empty());
    assert_eq!(routing.next_due(), None);
}

#[test]
fn what_the_queue_did_not_take_is_sent_anew_as_a_whole() {
    let mut routing = QueryRouting::default();
    let own = named("gnutella notes.txt");
    routing.link_up(NOW, link(1), Exchange::AsLeaf);
    let (updates, _) = steps(&mut routing, NOW, &own);
    let mut peer = QrpReceiver::default();
    peer.apply(&Qrp::decode(&updates[0].payloads[0]).unwrap()).unwrap();
    routing.not_sent(NOW, link(1));
    assert_eq!(steps(&mut routing, NOW, &own).1, 0);
    let (updates, _) = steps(&mut routing, NOW + RESEND_AFTER, &own);
    assert_eq!(receive(&mut peer, &updates[0]).unwrap(), table(&["gnutella", "notes", "txt"]));
    routing.not_sent(NOW, link(1));
    routing.link_down(link(1));
    assert_eq!(routing.next_due(), None);
}

#[test]
fn equal_tables_are_held_once_and_parted_when_one_changes() {
    let mut routing = QueryRouting::default();
    let usual = (1 << OWN_TABLE_BITS) / 8;
    let shares_nothing = QrpTable::new(OWN_TABLE_BITS);
    for leaf in 0..100 {
        routing.link_up(NOW, link(leaf), Exchange::WithLeaf);
        send(&mut routing, link(leaf), &shares_nothing.messages());
    }
    assert_eq!(routing.received_bytes(), usual);
    let changed = table(&["notes"]);
    send(&mut routing, link(7), &changed.messages_after(&shares_nothing));
    assert_eq!(routing.received_bytes(), 2 * usual);
    assert_eq!(leaves_for(&mut routing, "notes"), [link(7)], "and no other leaf's was changed");
    send(&mut routing, link(8), &changed.messages());
    assert_eq!(routing.received_bytes(), 2 * usual);
    assert_eq!(routing.changing(), 0);
}

#[test]
fn large_tables_have_a_bound_together_and_leave_room_for_those_of_usual_size() {
    let mut routing = QueryRouting::default();
    let mut largest = QrpTable::new(21);
    largest.insert(word_hash("notes"));
    let messages = largest.messages();
    for leaf in 0..40 {
        routing.link_up(NOW, link(leaf), Exchange::WithLeaf);
        // Room is set aside for each, though these are equal and held once.
        send(&mut routing, link(leaf), &messages);
    }
    assert_eq!(routing.refused(), 40 - MAX_LARGE_BYTES / largest.bytes());
    assert_eq!(leaves_for(&mut routing, "notes").len(), 32, "one refused gets no Query");
    routing.link_up(NOW, link(99), Exchange::BetweenUltrapeers);
    send(&mut routing, link(99), &messages);
    read(&mut routing, "bsd");
    assert!(routing.admits(link(99)), "an ultrapeer refused gets all");
    send(&mut routing, link(39), &table(&["notes"]).messages());
    assert_eq!(leaves_for(&mut routing, "notes").len(), 33, "there is always room for 8 KiB");
    routing.link_down(link(0));
    send(&mut routing, link(38), &messages);
    assert_eq!((leaves_for(&mut routing, "notes").len(), routing.refused()), (33, 7));
    let too_large = Qrp::Reset { slots: 1 << 22, infinity: 7 };
    let error = routing.handle_message(link(38), &too_large);
    assert_eq!(error, Err(QrpError::TooLarge(1 << 22)));
}

#[test]
fn a_message_costs_what_its_entries_do() {
    let mut routing = QueryRouting::default();
    routing.link_up(NOW, link(1), Exchange::WithLeaf);
    let small = send(&mut routing, link(1), &table(&["notes"]).messages());
    assert!((2_500..3_000).contains(&small), "a tenth of a share: {small}");
    let mut half_full = QrpTable::new(OWN_TABLE_BITS);
    (0..1 << 15).for_each(|n: u32| half_full.insert(n.wrapping_mul(0x9e37_79b9)));
    let dense = send(&mut routing, link(1), &half_full.messages());
    assert!((12_000..25_000).contains(&dense), "{dense}");
    let huge = send(&mut routing, link(1), &QrpTable::new(21).messages());
    assert!((80_000..100_000).contains(&huge), "four shares: {huge}");
    let units = read(&mut routing, "free bsd notes");
    assert!((8..40).contains(&units), "{units}");
}

#[test]
fn merging_tables_of_other_sizes_misses_no_word() {
    let words = ["gnutella", "notes", "bsd", "free", "wombat"];
    for bits in [0, 3, 10, 15, 16, 17, 18, 21] {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut other = QrpTable::new(bits);
            let chosen = words.iter().filter(|_| rng.below(2) == 0).copied();
            let chosen: Vec<&str> = chosen.collect();
            chosen.iter().for_each(|word| other.insert(word_hash(word)));
            let mut merged = QrpTable::new(OWN_TABLE_BITS);
            merged.merge(&other);
            for word in words {
                let expected = other.contains(word_hash(word));
                assert!(merged.contains(word_hash(word)) || !expected, "{bits} bits, seed {seed}");
            }
            if bits >= OWN_TABLE_BITS {
                assert_eq!(merged, of_hashes(&chosen), "{bits} bits, seed {seed}: and no more");
            }
        }
    }
}

fn of_hashes(words: &[&str]) -> QrpTable {
    let mut table = QrpTable::new(OWN_TABLE_BITS);
    words.iter().for_each(|word| table.insert(word_hash(word)));
    table
}

#[test]
fn whatever_links_come_and_go_what_peers_have_is_what_stands() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut routing = QueryRouting::default();
        let libraries = [named("gnutella notes.txt"), named("free bsd.txt"), Library::empty()];
        let mut library = &libraries[0];
        let mut peers: BTreeMap<LinkKey, (Exchange, QrpReceiver)> = BTreeMap::new();
        let mut now = NOW;
        for index in 0..120 {
            now += Duration::from_millis(rng.below(20_000) as u64);
            match rng.below(5) {
                0 | 1 => {
                    let exchange = [
                        Exchange::AsLeaf,
                        Exchange::WithLeaf,
                        Exchange::BetweenUltrapeers,
                        Exchange::None,
                    ][rng.below(4)];
                    routing.link_up(now, link(index), exchange);
                    peers.insert(link(index), (exchange, QrpReceiver::default()));
                }
                2 => {
                    if let Some(gone) = peers.keys().nth(rng.below(peers.len() + 1)).copied() {
                        routing.link_down(gone);
                        peers.remove(&gone);
                    }
                }
                3 => {
                    library = &libraries[rng.below(3)];
                    routing.library_changed();
                }
                _ => {
                    let leaf = peers.iter().find(|(_, peer)| peer.0 == Exchange::WithLeaf);
                    let words = [&["wombat"][..], &["zebra"], &[]][rng.below(3)];
                    if let Some((leaf, _)) = leaf {
                        send(&mut routing, *leaf, &table(words).messages());
                    }
                }
            }
            for update in steps(&mut routing, now, library).0 {
                if rng.below(8) == 0 {
                    let peer = &mut peers.get_mut(&update.link).expect("stands").1;
                    peer.apply(&Qrp::decode(&update.payloads[0]).unwrap()).unwrap();
                    routing.not_sent(now, update.link);
                    continue;
                }
                let (_, peer) = peers.get_mut(&update.link).expect("stands");
                receive(peer, &update);
            }
        }
        steps(&mut routing, now, library).0.iter().for_each(|update| {
            receive(&mut peers.get_mut(&update.link).expect("stands").1, update);
        });
        for _ in 0..3 {
            now += MINUTE;
            for update in steps(&mut routing, now, library).0 {
                receive(&mut peers.get_mut(&update.link).expect("stands").1, &update);
            }
        }
        let own = QrpTable::of_words(library.words_after(0));
        let mut all = own.clone();
        for (leaf, _) in peers.iter().filter(|(_, peer)| peer.0 == Exchange::WithLeaf) {
            routing.table_of(*leaf).into_iter().for_each(|table| all.merge(table));
        }
        for (link, (exchange, peer)) in &peers {
            let expected = match exchange {
                Exchange::AsLeaf => Some(&own),
                Exchange::BetweenUltrapeers => Some(&all),
                Exchange::None | Exchange::WithLeaf => None,
            };
            assert_eq!(peer.table(), expected, "seed {seed}, {link:?}, {exchange:?}");
        }
        assert_eq!(routing.next_due(), None, "seed {seed}");
    }
}

#[test]
fn tables_of_all_links_stay_within_the_bounds_that_are_told() {
    let mut routing = QueryRouting::default();
    for leaf in 0..50 {
        routing.link_up(NOW, link(leaf), Exchange::WithLeaf);
        let mut table = QrpTable::new(if leaf % 2 == 0 { OWN_TABLE_BITS } else { 20 });
        table.insert(leaf.wrapping_mul(0x9e37_79b9));
        send(&mut routing, link(leaf), &table.messages());
    }
    let told: usize = bounds(50)[..2].iter().map(|(_, count, bytes)| count * bytes).sum();
    let held = routing.received_bytes();
    assert!(held <= told, "{held} of {told}");
    assert!(held > 3 << 20, "the test is of large tables: {held}");
}
