//! Fuzz targets for the bytes of 0.6: legs of the handshake, extensions, query routing.

use super::said::said;
use crate::wire::deflate;
use crate::wire::ggep::{
    Ggep, GgepBuilder, GgepError, MAX_DATA_BYTES, MAX_EXTENSIONS, MAX_INFLATED_BYTES, describe,
};
use crate::wire::handshake06::{FirstLine, Leg, LegError, LegReader, MAX_LEG_BYTES, MAX_LEG_LINES};
use crate::wire::huge::{AreaBlock, MAX_BLOCKS, blocks, put_area};
use crate::wire::qrp::{MAX_SLOTS, Qrp, QrpReceiver, QrpTable};
use crate::wire::{HandshakeEnd, Urn};

/// Legs up to this length are also read byte by byte.
const MAX_SINGLE_BYTES: usize = 512;

/// A leg of a handshake is judged the same however its bytes arrive, within its limits; what is
/// understood of it survives being written; and a tap finds the same end.
///
/// The first byte of `data` is the size of the reads, the rest the stream.
pub fn handshake06(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = read_leg(stream.chunks(stream.len().max(1)));
    assert_eq!(read_leg(stream.chunks(usize::from(size).max(1))), whole, "reads of {size} bytes");
    if stream.len() <= MAX_SINGLE_BYTES {
        assert_eq!(read_leg(stream.chunks(1)), whole, "single bytes");
    }
    match whole {
        Ok(Some((leg, len))) => {
            assert!(len <= MAX_LEG_BYTES && stream[..len].ends_with(b"\n"));
            written_and_read(&leg);
            if !matches!(leg.first, FirstLine::Connect(_)) {
                let behind = HandshakeEnd::default().skip(stream).len();
                assert_eq!(behind, stream.len() - len, "a tap finds another end");
            }
        }
        Ok(None) => {
            assert!(stream.len() <= MAX_LEG_BYTES);
            assert!(memchr::memchr_iter(b'\n', stream).count() <= MAX_LEG_LINES);
        }
        Err(error) => {
            said(&error);
            written_and_read(&Leg { first: error.status(), headers: Default::default() });
        }
    }
}

/// What a reader makes of a stream, and how many bytes it took of it.
fn read_leg<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Result<Option<(Leg, usize)>, LegError> {
    let mut reader = LegReader::default();
    let mut before = 0;
    for read in reads {
        if let Some((leg, taken)) = reader.read(read)? {
            assert!((1..=read.len()).contains(&taken));
            return Ok(Some((leg, before + taken)));
        }
        before += read.len();
    }
    Ok(None)
}

fn written_and_read(leg: &Leg) {
    let mut written = Vec::new();
    leg.write(&mut written);
    let lines = leg.headers.iter().count() + 2;
    assert_eq!(memchr::memchr_iter(b'\n', &written).count(), lines, "a value ended its line");
    // Joining and names of one letter may make a leg a little longer than it came.
    if written.len() <= MAX_LEG_BYTES {
        let mut again = LegReader::default();
        let again = again.read(&written).expect("our own leg").expect("and all of it");
        assert_eq!((&again.0, again.1), (leg, written.len()));
    }
    for (name, value) in leg.headers.iter() {
        assert_eq!(leg.headers.get(&name.to_ascii_uppercase()), Some(value));
        assert!(leg.headers.items(name).all(|item| !item.is_empty() && !item.contains(',')));
        let _ = (leg.headers.truth(name), leg.headers.addresses(name).count());
    }
}

/// A GGEP block is kept byte for byte, its data is bounded, and what is built is read as it was meant;
/// the same for URNs and the areas they stand in.
pub fn ggep(data: &[u8]) {
    match Ggep::decode(data) {
        Ok((ggep, rest)) => {
            assert_eq!([ggep.bytes(), rest].concat(), data);
            block(&ggep);
        }
        Err(error) => said(&error),
    }
    built(b"A", data);
    area(data);
    let deflated = deflate::deflate(data);
    assert_eq!(deflate::inflate(&deflated, data.len()).as_deref(), Ok(data));
    if let Some(less) = data.len().checked_sub(1) {
        assert!(deflate::inflate(&deflated, less).is_err(), "the limit holds");
    }
}

fn block(ggep: &Ggep<'_>) {
    let bytes = ggep.bytes();
    for len in (0..bytes.len()).rev().take(64) {
        assert_eq!(Ggep::decode(&bytes[..len]).err().map(is_cut), Some(true), "{len} bytes");
    }
    let count = ggep.extensions().count();
    assert!((1..=MAX_EXTENSIONS).contains(&count));
    for extension in ggep.extensions() {
        assert!((1..=15).contains(&extension.id.len()));
        assert_eq!(ggep.get(extension.id).map(|first| first.id), Some(extension.id));
        match extension.data() {
            Ok(data) => {
                let limit =
                    if extension.is_deflated() { MAX_INFLATED_BYTES } else { MAX_DATA_BYTES };
                assert!(data.len() <= limit);
                if let Some((_, Some(meaning))) = describe(extension.id, &data) {
                    let _ = meaning.to_string();
                }
                let _ = (ggep.number(extension.id), ggep.addresses(extension.id));
                built(extension.id, &data);
            }
            Err(error) => said(&error),
        }
    }
}

fn is_cut(error: GgepError) -> bool {
    matches!(error, GgepError::CutShort | GgepError::NoMagic)
}

/// Blocks of an extension twice, built and read.
fn built(id: &[u8], data: &[u8]) {
    for mut builder in [GgepBuilder::new(), GgepBuilder::nul_free()] {
        if !builder.add(id, data) {
            // Without zeros the data is up to a 254th longer.
            assert!(id.contains(&0) || data.len() > MAX_DATA_BYTES / 255 * 254);
            continue;
        }
        let _ = builder.add(id, data);
        for extension in Ggep::decode_all(&builder.finish()).expect("our own block").extensions() {
            assert_eq!((extension.id, extension.data().as_deref()), (id, Ok(data)));
        }
    }
    let mut builder = GgepBuilder::nul_free();
    let _ = builder.add(id, data);
    assert!(!builder.finish().contains(&0), "a zero would end the result");
}

fn area(data: &[u8]) {
    let all: Vec<AreaBlock<'_>> = blocks(data).collect();
    assert!(all.len() <= MAX_BLOCKS);
    let mut urns = Vec::new();
    let mut ggep: &[u8] = &[];
    for block in &all {
        match block {
            AreaBlock::Urn(urn) => {
                assert_eq!(Urn::parse(urn.to_string().as_bytes()), Some(*urn));
                let binary = urn.to_binary();
                assert!(binary.is_none_or(|binary| Urn::from_binary(&binary) == Some(*urn)));
                urns.push(*urn);
            }
            AreaBlock::Ggep(found) => ggep = found.bytes(),
            AreaBlock::BadGgep(bytes, error) => {
                said(error);
                assert!(data.ends_with(bytes), "it ends the area");
            }
            AreaBlock::Metadata(bytes) | AreaBlock::Other(bytes) => assert!(!bytes.is_empty()),
        }
    }
    urns.truncate(MAX_BLOCKS - 1);
    let mut written = Vec::new();
    put_area(&urns, ggep, &mut written);
    let mut again = blocks(&written);
    for urn in urns {
        assert_eq!(again.next(), Some(AreaBlock::Urn(urn)));
    }
    assert_eq!(again.next().is_some(), !ggep.is_empty());
}

/// A neighbour's table follows its messages and nothing else: its size is bounded, entries mean what
/// a plain list of values says, and a table of words arrives as it was sent.
///
/// The first byte of `data` chooses: even, messages of a length byte and a payload each; odd, two lists
/// of words with a zero byte between them.
pub fn qrp(data: &[u8]) {
    match data.split_first() {
        Some((choice, rest)) if choice % 2 == 1 => words(rest),
        Some((_, rest)) => messages(rest),
        None => {}
    }
}

fn messages(mut data: &[u8]) {
    let mut receiver = QrpReceiver::default();
    let mut model = Model::default();
    while let Some((&len, rest)) = data.split_first() {
        let (payload, rest) = rest.split_at(usize::from(len).min(rest.len()));
        data = rest;
        let message = match Qrp::decode(payload) {
            Ok(message) => message,
            Err(error) => {
                said(&error);
                continue;
            }
        };
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(again, payload);
        match receiver.apply(&message) {
            Ok(is_complete) => {
                assert!(!is_complete || receiver.table().is_some());
                model.apply(&message);
            }
            Err(error) => {
                said(&error);
                assert!(receiver.table().is_none(), "a table that cannot be followed is gone");
                model = Model::default();
            }
        }
        if let (Some(table), Some(values)) = (receiver.table(), &model.values) {
            assert!(table.slots() <= MAX_SLOTS as usize);
            if model.at == 0 {
                let set = values.iter().filter(|&&set| set).count();
                assert_eq!(table.set_slots(), set);
                assert!(values.iter().enumerate().all(|(slot, &set)| table.is_set(slot) == set));
            }
        }
    }
}

/// Largest table that is modelled.
const MAX_MODEL_SLOTS: u32 = 4_096;

/// The presence of each slot, from plain messages only; nothing once a deflated one came.
#[derive(Default)]
struct Model {
    values: Option<Vec<bool>>,
    /// Entries applied of the sequence under way.
    at: usize,
}

impl Model {
    fn apply(&mut self, message: &Qrp<'_>) {
        let patch = match message {
            Qrp::Reset { slots, .. } => {
                let fits = *slots <= MAX_MODEL_SLOTS;
                self.values = fits.then(|| vec![false; *slots as usize]);
                self.at = 0;
                return;
            }
            Qrp::Patch(patch) => patch,
            Qrp::Other(_) => return,
        };
        if patch.compressor != 0 {
            self.values = None;
        }
        let Some(values) = &mut self.values else { return };
        let bits = u32::from(patch.entry_bits);
        for &byte in patch.data {
            for place in 0..8 / bits {
                let entry = (u32::from(byte) >> (8 - bits * (place + 1))) & ((1 << bits) - 1);
                if let Some(set) = values.get_mut(self.at) {
                    *set = match entry {
                        0 => *set,
                        1 if bits == 1 => !*set,
                        entry => entry >= 1 << (bits - 1),
                    };
                }
                self.at += 1;
            }
        }
        if patch.number == patch.count {
            self.at = 0;
        }
    }
}

fn words(data: &[u8]) {
    let (before, after) = data.split_at(memchr::memchr(0, data).unwrap_or(data.len()));
    let [before, after] = [before, after].map(String::from_utf8_lossy);
    let tables = [&before, &after].map(|text| QrpTable::of_words(text.split_whitespace()));
    let mut receiver = QrpReceiver::default();
    let mut send = |payloads: Vec<Vec<u8>>| {
        for payload in payloads {
            let message = Qrp::decode(&payload).expect("our own payload");
            receiver.apply(&message).expect("our own sequence");
        }
        receiver.table().cloned()
    };
    assert_eq!(send(tables[0].messages()).as_ref(), Some(&tables[0]));
    assert_eq!(send(tables[1].messages_after(&tables[0])).as_ref(), Some(&tables[1]));
    let mut both = tables[0].clone();
    both.merge(&tables[1]);
    let mut small = QrpTable::new(4);
    small.merge(&both);
    for slot in 0..both.slots() {
        assert_eq!(both.is_set(slot), tables.iter().any(|table| table.is_set(slot)));
        assert!(!both.is_set(slot) || small.is_set(slot >> 12), "a smaller table misses a word");
    }
}
