//! `servent decode`: explains descriptors in hex, raw bytes or a packet capture.
//!
//! [`crate::capture`] finds handshakes and descriptors and inflates deflated links, `fields` and
//! `extensions` say what the bytes mean, `show` prints it.

mod extensions;
mod fields;
mod show;

use super::args::DecodeArgs;
use super::exit::Failure;
use crate::capture::{
    Capture, Content, Fragment, Item, inflate_raw, inflate_streams, is_capture, reassemble,
    walk_bytes, walk_stream,
};
use crate::wire::HEADER_BYTES;
use show::{Count, Printer};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// Largest input. The whole input is in memory, with one copy of its streams and an item for each
/// descriptor: about six times this in the worst case, a file of Pings. Deflated links add what they
/// become, which has a limit of its own.
const MAX_INPUT_BYTES: usize = 256 * 1024 * 1024;

pub(super) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    let name = if is_stdin(&args.file) {
        "standard input".to_owned()
    } else {
        args.file.display().to_string()
    };
    let bytes = read_input(&args.file, &name)?;
    if bytes.is_empty() {
        return Err(Failure::failed(format!("{name} is empty")));
    }
    let count = if is_capture(&bytes) {
        decode_capture(&bytes, &name, args.json)?
    } else if is_text(&bytes) {
        let bytes = parse_hex(&bytes)
            .map_err(|reason| Failure::failed(format!("nothing to decode: {reason}")))?;
        decode_bytes(bytes, args.json)?
    } else {
        decode_bytes(bytes, args.json)?
    };
    verdict(&count)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read_input(path: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let limit = MAX_INPUT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::disk(format!("cannot read {name}: {error}")))?;
    if bytes.len() > MAX_INPUT_BYTES {
        return Err(Failure::failed(format!(
            "{name} is larger than 256 MiB, the most that is read"
        )));
    }
    Ok(bytes)
}

/// Whether the input may be hex text. A handshake is text too; a header never is, since its length
/// field would exceed the limit.
fn is_text(bytes: &[u8]) -> bool {
    let printable = |&byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    bytes.iter().all(printable) && !bytes.starts_with(b"GNUTELLA")
}

/// Reads hex digits. White space is ignored; `;` and `#` start a comment.
fn parse_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut half = None;
    for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
        let code = line.split(|byte| matches!(byte, b';' | b'#')).next().unwrap_or_default();
        for &byte in code.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            let shown = char::from(byte);
            let digit = shown.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let digit = digit
                .ok_or_else(|| format!("line {number} has '{shown}' where hex digits belong"))?;
            match half.take() {
                Some(high) => bytes.push(high << 4 | digit),
                None => half = Some(digit),
            }
        }
    }
    match half {
        Some(_) => Err("the number of hex digits is odd".to_owned()),
        None if bytes.is_empty() => Err("there are no hex digits".to_owned()),
        None => Ok(bytes),
    }
}

fn decode_bytes(bytes: Vec<u8>, json: bool) -> Result<Count, Failure> {
    let mut fragment = Fragment { bytes, ..Fragment::default() };
    inflate_raw(&mut fragment);
    let items = walk_bytes(&fragment);
    if let [Item { content, .. }] = &items[..] {
        let reason = match content {
            Content::Lost { reason, .. } => Some(reason.clone()),
            Content::CutShort { header: None, bytes } => {
                Some(format!("a header alone has {HEADER_BYTES} bytes, {} came", bytes.len()))
            }
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(Failure::failed(format!("nothing to decode: {reason}")));
        }
    }
    print(&items, json, Duration::ZERO)
}

fn decode_capture(bytes: &[u8], name: &str, json: bool) -> Result<Count, Failure> {
    let capture = Capture::read(bytes);
    let mut streams = reassemble(&capture.segments);
    inflate_streams(&mut streams);
    let mut items: Vec<_> = streams.iter().flat_map(walk_stream).collect();
    // Both directions by packet number; the sort is stable, so each keeps its order.
    items.sort_by_key(|item| item.position.origin.map(|origin| origin.packet));
    let count = print(&items, json, capture.start)?;
    if capture.cut > 0 {
        log::warn!("{} of {} packets were recorded only in part", capture.cut, capture.packets);
    }
    if count.descriptors + count.handshakes + count.cut_short == 0 {
        let Capture { packets, skipped, .. } = capture;
        return Err(Failure::failed(format!(
            "no Gnutella link in {name}: {packets} packets, {skipped} of them not TCP over IPv4{}",
            capture.problem.map(|problem| format!("; {problem}")).unwrap_or_default()
        )));
    }
    match capture.problem {
        Some(problem) => Err(Failure::failed(problem)),
        None => Ok(count),
    }
}

fn print(items: &[Item<'_>], json: bool, start: Duration) -> Result<Count, Failure> {
    let mut printer = Printer::new(json, start);
    for item in items {
        printer.item(item)?;
    }
    printer.finish()?;
    Ok(printer.count)
}

/// Fails with what could not be read, if anything.
fn verdict(count: &Count) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for (number, what) in [
        (count.malformed, "descriptors malformed"),
        (count.cut_short, "cut short"),
        (count.lost_bytes, "bytes that cannot be read"),
        (count.missing_bytes, "bytes missing from the capture"),
    ] {
        if number > 0 {
            wrong.push(format!("{number} {what}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("not everything could be read: {}", wrong.join(", "))))
}
