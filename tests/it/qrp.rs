//! Query routing: hashes, tables of real servents, what a sequence of PATCHes may be.

use crate::support::recorded::Recording;
use crate::support::vectors::load_descriptor;
use servent::wire::deflate::deflate;
use servent::wire::qrp::{
    MAX_SLOTS, OWN_TABLE_BITS, PLAIN, Patch, QRP, Qrp, QrpError, QrpReceiver, QrpTable, ZLIB,
    word_hash,
};
use servent::wire::{DecodeError, Deframer, block_len};

const RESET: Qrp<'static> = Qrp::Reset { slots: 16, infinity: 7 };
/// Sets slots 2 and 9: free and hello.
const FOUR_BITS: [u8; 8] = [0, 0xa0, 0, 0, 0x0a, 0, 0, 0];

fn patch(number: u8, count: u8, entry_bits: u8, data: &[u8]) -> Qrp<'_> {
    Qrp::Patch(Patch { number, count, compressor: PLAIN, entry_bits, data })
}

fn zlib(number: u8, count: u8, data: &[u8]) -> Qrp<'_> {
    Qrp::Patch(Patch { number, count, compressor: ZLIB, entry_bits: 4, data })
}

/// Applies messages; the last result.
fn apply(receiver: &mut QrpReceiver, messages: &[Qrp<'_>]) -> Result<bool, QrpError> {
    let mut last = Ok(false);
    for message in messages {
        last = Ok(receiver.apply(message)?);
    }
    last
}

fn set(table: &QrpTable) -> Vec<usize> {
    (0..table.slots()).filter(|&slot| table.is_set(slot)).collect()
}

fn after(messages: &[Qrp<'_>]) -> Vec<usize> {
    let mut receiver = QrpReceiver::default();
    assert_eq!(apply(&mut receiver, messages), Ok(true));
    set(receiver.table().unwrap())
}

#[test]
fn words_hash_as_published() {
    for (word, bits, slot) in [
        ("", 13, 0),
        ("eb", 13, 6791),
        ("ebc", 13, 7082),
        ("ebck", 13, 6698),
        ("ebckl", 13, 3179),
        ("ebcklm", 13, 3235),
        ("n", 16, 65003),
        ("nd", 16, 54193),
        ("ndf", 16, 4953),
        ("3nja9", 10, 581),
        ("3NJA9", 10, 581),
        ("free", 4, 2),
        ("free", 13, 1470),
        ("free", 16, 11763),
        ("hello", 4, 9),
        ("hello", 16, 38932),
        ("gnutella", 4, 5),
        ("gnutella", 13, 2661),
        ("bsd", 16, 33893),
    ] {
        assert_eq!(word_hash(word) >> (32 - bits), slot, "{word}");
    }
    assert_eq!([word_hash("n"), word_hash("gnutella")], [0xfdeb_2688, 0x532d_31b8]);
}

#[test]
fn entries_of_every_width_set_the_same_slots() {
    let mut eight = [0; 16];
    (eight[2], eight[9]) = (0xfa, 0xfa);
    let compressed = deflate(&FOUR_BITS);
    for message in [
        patch(1, 1, 1, &[0x20, 0x40]),
        patch(1, 1, 2, &[0x08, 0, 0x20, 0]),
        patch(1, 1, 4, &FOUR_BITS),
        patch(1, 1, 8, &eight),
        zlib(1, 1, &compressed),
    ] {
        assert_eq!(after(&[RESET, message]), [2, 9], "{message:?}");
    }
    // One stream over all PATCHes of a sequence.
    let parts: Vec<&[u8]> = compressed.chunks(5).collect();
    let count = u8::try_from(parts.len()).unwrap();
    let all = (1..).zip(&parts).map(|(number, part)| zlib(number, count, part));
    assert_eq!(after(&[RESET].into_iter().chain(all).collect::<Vec<_>>()), [2, 9]);
}

#[test]
fn later_sequences_set_clear_and_flip() {
    let first = patch(1, 1, 4, &FOUR_BITS);
    // gtk-gnutella's infinity is 2: -1 sets, +1 clears.
    assert_eq!(after(&[RESET, first, patch(1, 1, 4, &[0, 0x6f, 0, 0, 0, 0, 0, 0])]), [3, 9]);
    assert_eq!(after(&[RESET, first, patch(1, 1, 1, &[0x30, 0])]), [3, 9]);
    assert_eq!(after(&[RESET, first, RESET, patch(1, 1, 1, &[0x80, 0])]), [0]);
    let mut receiver = QrpReceiver::default();
    for (message, known) in [
        (RESET, false),
        (patch(1, 2, 4, &FOUR_BITS[..4]), false),
        (patch(2, 2, 4, &FOUR_BITS[4..]), true),
        (patch(1, 2, 4, &[0; 4]), true),
        (RESET, false),
    ] {
        receiver.apply(&message).unwrap();
        assert_eq!(receiver.table().is_some(), known, "{message:?}");
    }
}

#[test]
fn every_wrong_sequence_has_its_error_and_leaves_no_table() {
    let first = patch(1, 3, 4, &FOUR_BITS[..2]);
    let other_compressor = zlib(2, 3, b"x");
    let compressor =
        Qrp::Patch(Patch { number: 1, count: 1, compressor: 7, entry_bits: 4, data: b"x" });
    let bomb = deflate(&vec![0; 1_000_000]);
    let reset = |slots, infinity| Qrp::Reset { slots, infinity };
    for (messages, error) in [
        (vec![patch(1, 1, 4, &FOUR_BITS)], QrpError::NoReset),
        (vec![RESET, first, patch(3, 3, 4, b"x")], QrpError::Sequence { expected: 2, got: 3 }),
        (vec![RESET, first, first], QrpError::Sequence { expected: 2, got: 1 }),
        (vec![RESET, patch(0, 1, 4, b"x")], QrpError::Sequence { expected: 1, got: 0 }),
        (vec![RESET, patch(1, 0, 4, b"x")], QrpError::Sequence { expected: 0, got: 1 }),
        (vec![RESET, first, patch(2, 4, 4, b"x")], QrpError::CountChanged),
        (vec![RESET, first, patch(2, 3, 8, b"x")], QrpError::EntriesChanged),
        (vec![RESET, first, other_compressor], QrpError::EntriesChanged),
        (vec![RESET, patch(1, 1, 3, b"x")], QrpError::EntryBits(3)),
        (vec![RESET, patch(1, 1, 0, b"x")], QrpError::EntryBits(0)),
        (vec![reset(17, 7)], QrpError::Slots(17)),
        (vec![reset(0, 7)], QrpError::Slots(0)),
        (vec![reset(16, 0)], QrpError::Infinity),
        (vec![reset(MAX_SLOTS * 2, 7)], QrpError::TooLarge(MAX_SLOTS * 2)),
        (vec![reset(1 << 31, 7)], QrpError::TooLarge(1 << 31)),
        (vec![RESET, compressor], QrpError::Compressor(7)),
        (vec![RESET, patch(1, 1, 4, &[0; 9])], QrpError::TooManyEntries),
        (vec![RESET, zlib(1, 1, &bomb)], QrpError::TooManyEntries),
        (vec![RESET, patch(1, 1, 4, &[0; 7])], QrpError::Incomplete),
        (vec![RESET, zlib(1, 1, b"nonsense")], QrpError::Broken),
    ] {
        let mut receiver = QrpReceiver::default();
        apply(&mut receiver, &[RESET, patch(1, 1, 4, &FOUR_BITS)]).unwrap();
        if error == QrpError::NoReset {
            receiver = QrpReceiver::default();
        }
        assert_eq!(apply(&mut receiver, &messages), Err(error), "{error}");
        assert_eq!(receiver.table(), None);
        assert_eq!(receiver.apply(&first), Err(QrpError::NoReset));
    }
}

#[test]
fn sizes_are_those_of_the_layout() {
    for bad in [&b""[..], b"\0\0\x10\0\0", b"\0\0\x10\0\0\x07\0", b"\x01\x01\x01\0\x04"] {
        let error = Qrp::decode(bad).unwrap_err();
        assert!(matches!(
            error,
            DecodeError::TooShort { kind: QRP, .. } | DecodeError::TooLong { kind: QRP, .. }
        ));
    }
    assert_eq!(Qrp::decode(b"\x02later"), Ok(Qrp::Other(b"\x02later")));
    assert_eq!(load_descriptor("vendor-supported").kind.code(), 0x31);
}

#[test]
fn a_table_of_words_arrives_as_it_was_sent_and_changes_with_them() {
    let table = QrpTable::of_words(["zebra", "free", "hi"]);
    let hash = |word| word_hash(word);
    for (word, known) in
        [("zebra", true), ("zeb", true), ("ze", false), ("hi", false), ("free", true)]
    {
        assert_eq!(table.contains(hash(word)), known, "{word}");
    }
    assert_eq!((table.slots(), table.set_slots()), (1 << OWN_TABLE_BITS, 5));
    let mut receiver = QrpReceiver::default();
    let mut send = |payloads: &[Vec<u8>]| {
        for payload in payloads {
            receiver.apply(&Qrp::decode(payload).unwrap()).unwrap();
        }
        receiver.table().cloned()
    };
    let messages = table.messages();
    assert_eq!(messages.len(), 2);
    assert!(messages[1].len() < 300, "a sparse table compresses: {} bytes", messages[1].len());
    assert_eq!(send(&messages), Some(table.clone()));
    let next = QrpTable::of_words(["zebra", "bsd"]);
    let change = next.messages_after(&table);
    assert_eq!((change.len(), change[0][0]), (1, 1), "no RESET");
    assert_eq!(send(&change), Some(next.clone()));
    assert!(next.messages_after(&next).is_empty());
    // Half of all slots set at random do not compress: several PATCHes, each below 4 KiB.
    let mut full = QrpTable::new(OWN_TABLE_BITS);
    let mut noise = 1u32;
    for _ in 0..40_000 {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        full.insert(noise);
    }
    let messages = full.messages_after(&next);
    assert!(messages.len() > 1 && messages.iter().all(|payload| payload.len() < 4_096 - 23));
    assert_eq!(send(&messages), Some(full));
}

#[test]
fn tables_of_different_sizes_merge_without_missing_a_word() {
    for (bits, other) in [(16, 16), (16, 10), (10, 16), (16, 0), (0, 13)] {
        let (mut table, mut more) = (QrpTable::new(bits), QrpTable::new(other));
        table.insert(word_hash("free"));
        more.insert(word_hash("hello"));
        table.merge(&more);
        assert_eq!(table.slots(), 1 << bits);
        assert!(["free", "hello"].iter().all(|word| table.contains(word_hash(word))));
    }
}

/// gtk-gnutella as a leaf sends RESET and PATCH right after the handshake.
#[test]
fn the_table_of_a_real_leaf_holds_its_words() {
    let received = Recording::load("gtkg-leafmode-in-06-1").received();
    let mut deframer = Deframer::default();
    let mut found = deframer.feed(&received[block_len(&received).unwrap()..]);
    let mut receiver = QrpReceiver::default();
    while let Some(raw) = found.next().unwrap() {
        if raw.header().kind == QRP {
            receiver.apply(&Qrp::decode(raw.payload()).unwrap()).unwrap();
        }
    }
    let table = receiver.table().unwrap();
    assert_eq!(table.slots(), 16_384);
    for word in ["hello", "gnutella", "gnut", "test", "random", "blob", "sample"] {
        assert!(table.contains(word_hash(word)), "{word}");
    }
    assert!(!table.contains(word_hash("ballad")));
}
