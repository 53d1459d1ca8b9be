//! The bodies of the fuzz targets under `fuzz/`: what must hold for any bytes.
//!
//! They are part of the library so that the ordinary build compiles them and an ordinary test replays
//! the committed corpus. Each takes any bytes and panics if an invariant of the wire code, of a
//! transfer or of a network is broken. Nothing else calls them.

mod codec;
mod gnutella06;
mod http_server;
mod network;
mod query_match;
mod route_table;
mod said;
mod script;
mod servent;
mod transfer;

pub use codec::{codec, set_coding};
pub use gnutella06::{ggep, handshake06, qrp};
pub use http_server::http_server;
pub use network::network;
pub use query_match::query_match;
pub use route_table::route_table;
pub use servent::servent;
pub use transfer::transfer;

use said::said;

use crate::transfer::names::{MAX_NAME_BYTES, escape_for_terminal, safe_local_name};
use crate::transfer::url::TransferUrl;
use crate::wire::giv::Giv;
use crate::wire::handshake::{CONNECT, Dispatch, OK, dispatch, read_answer, read_connect};
use crate::wire::http_head::{
    GetPath, GetRequest, Reply, RequestHead, ResponseHead, Status, Version, encode_name,
    parse_request, parse_response,
};
use crate::wire::qrp::{QRP, Qrp};
use crate::wire::vendor::{self, VendorMessage};
use crate::wire::{
    Bye, DecodeError, Deframer, FrameError, HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES, Ping,
    Pong, Push, Query, QueryHit,
};
use std::fmt::Debug;

/// Streams up to this length are also fed byte by byte.
const MAX_SINGLE_BYTES: usize = 256;

/// Headers looked at ahead of their descriptors.
const AHEAD: usize = 3;

/// Stands between the texts of one input of [`http`].
const BETWEEN: u8 = 0x1e;

/// Prefixes of an input that are tried: enough for every line end of what peers send.
const MAX_PREFIXES: usize = 100;

/// However a stream is cut into reads, the same descriptors come out of it, and every byte is
/// either part of one, or held back for the next, or behind an error.
///
/// The first byte of `data` is the size of the reads, the rest the stream.
pub fn deframe(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = Framed::of(std::iter::once(stream));
    let size = usize::from(size).max(1);
    assert_eq!(whole, Framed::of(stream.chunks(size)), "reads of {size} bytes");
    let (head, tail) = stream.split_at(size.min(stream.len()));
    assert_eq!(whole, Framed::of([head, tail].into_iter()), "two reads, {size} bytes first");
    if stream.len() <= MAX_SINGLE_BYTES {
        assert_eq!(whole, Framed::of(stream.chunks(1)), "single bytes");
    }
    let taken: usize = whole.descriptors.iter().map(|(_, bytes)| HEADER_BYTES + bytes.len()).sum();
    match whole.error {
        None => assert_eq!(taken + whole.pending, stream.len(), "no byte appears or vanishes"),
        Some(_) => assert!(taken + HEADER_BYTES <= stream.len(), "an error needs a header"),
    }
    let mut again = Vec::new();
    for (header, payload) in &whole.descriptors {
        header.frame(payload, &mut again);
    }
    assert_eq!(again, stream[..taken], "framing gives back what was deframed");
}

/// What a deframer makes of a stream.
#[derive(Debug, PartialEq)]
struct Framed {
    descriptors: Vec<(Header, Vec<u8>)>,
    /// Bytes held back at the end; 0 after an error.
    pending: usize,
    error: Option<FrameError>,
}

impl Framed {
    fn of<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Framed {
        let mut deframer = Deframer::default();
        let mut descriptors = Vec::new();
        for read in reads {
            let mut found = deframer.feed(read);
            let mut ahead = Vec::new();
            loop {
                if ahead.is_empty() {
                    ahead = found.ahead(AHEAD).map(|raw| raw.header()).collect();
                    assert!(ahead.len() <= AHEAD);
                    ahead.reverse();
                }
                let next = found.next();
                if !matches!(next, Ok(Some(_))) {
                    assert_eq!(ahead, [], "seen ahead, and not there");
                }
                match next {
                    Ok(Some(raw)) => {
                        assert!(ahead.pop().is_none_or(|header| header == raw.header()));
                        assert_eq!(raw.header().payload_len as usize, raw.payload().len());
                        assert!(raw.payload().len() <= MAX_PAYLOAD_BYTES);
                        descriptors.push((raw.header(), raw.payload().to_vec()));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        said(&error);
                        return Framed { descriptors, pending: 0, error: Some(error) };
                    }
                }
            }
            assert!(deframer.pending_bytes() < HEADER_BYTES + MAX_PAYLOAD_BYTES);
        }
        Framed { descriptors, pending: deframer.pending_bytes(), error: None }
    }
}

/// Decoding never panics; what is accepted encodes to the very bytes it was read from, and reads
/// the same again.
///
/// The first byte of `data` is the kind, the rest the payload.
pub fn payload(data: &[u8]) {
    let Some((&code, payload)) = data.split_first() else { return };
    let kind = Kind::from_code(code);
    assert_eq!(kind.code(), code);
    match kind {
        Kind::Ping => there_and_back(payload, Ping::decode, Ping::encode),
        Kind::Pong => there_and_back(payload, Pong::decode, Pong::encode),
        Kind::Bye => {
            there_and_back(payload, Bye::decode, Bye::encode);
            if let Ok(bye) = Bye::decode(payload) {
                assert!(bye.rest.starts_with(bye.text()));
                assert!(bye.headers().all(|line| !line.is_empty()));
            }
        }
        Kind::Push => there_and_back(payload, Push::decode, Push::encode),
        Kind::Query => {
            there_and_back(payload, Query::decode, Query::encode);
            if let Ok(query) = Query::decode(payload) {
                assert!(!query.criteria.contains(&0));
            }
        }
        Kind::QueryHit => {
            there_and_back(payload, QueryHit::decode, QueryHit::encode);
            if let Ok(hit) = QueryHit::decode(payload) {
                walk(&hit);
            }
        }
        QRP => there_and_back(payload, Qrp::decode, Qrp::encode),
        vendor::EXPERIMENTAL | vendor::STANDARD => {
            let decode = |payload| VendorMessage::decode(kind, payload);
            there_and_back(payload, decode, VendorMessage::encode);
            if let Ok(message) = VendorMessage::decode(kind, payload) {
                vendor_meaning(&message);
            }
        }
        Kind::Other(_) => {}
    }
}

/// What a vendor message says is written so that it says the same.
fn vendor_meaning(message: &VendorMessage<'_>) {
    let Some(meaning) = message.meaning() else { return };
    let _ = meaning.to_string();
    let mut written = Vec::new();
    meaning.encode(&mut written);
    let again = VendorMessage::decode(vendor::EXPERIMENTAL, &written).expect("our own message");
    assert_eq!(again.meaning(), Some(meaning));
}

fn there_and_back<'a, T: Debug + PartialEq>(
    payload: &'a [u8],
    decode: impl Fn(&'a [u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) {
    match decode(payload) {
        Ok(view) => {
            let mut again = Vec::new();
            encode(&view, &mut again);
            assert_eq!(again, payload, "{view:?}");
        }
        Err(error) => said(&error),
    }
}

/// The parts of a hit that are read lazily.
fn walk(hit: &QueryHit<'_>) {
    assert_ne!(hit.count, 0);
    assert_eq!(hit.results().count(), usize::from(hit.count), "as many results as announced");
    for result in hit.results() {
        assert!(!result.name.contains(&0) && !result.extension.contains(&0));
    }
    if let Some(trailer) = hit.trailer() {
        let _ = (trailer.push(), trailer.busy());
        let mut again = Vec::new();
        trailer.encode(&mut again);
        assert_eq!(again, hit.trailer_bytes);
    }
}

/// What is decided about the beginning of a connection stays decided when more bytes come, and a
/// complete handshake is exactly as long as what was read of it.
pub fn handshake(data: &[u8]) {
    stays_decided(data, |bytes| match dispatch(bytes) {
        Dispatch::NeedMore => None,
        decided => Some(decided),
    });
    // The line in the error grows with what has been read of it; the verdict does not.
    stays_decided(data, |bytes| read_connect(bytes).map_err(drop).transpose());
    stays_decided(data, |bytes| read_answer(bytes).map_err(drop).transpose());
    for (read, exact) in [(read_connect as fn(&[u8]) -> _, CONNECT), (read_answer, OK)] {
        match read(data) {
            Ok(Some(len)) => {
                assert!(data[..len].ends_with(b"\n"), "a handshake ends with its blank line");
                assert_eq!(read(&data[..len]), Ok(Some(len)), "and needs nothing behind it");
            }
            Ok(None) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
                assert!(text.len() < 256, "{} bytes", text.len());
            }
        }
        let followed = [exact, data].concat();
        assert_eq!(read(&followed), Ok(Some(exact.len())), "what follows belongs to the link");
    }
    if let Ok(Some(_)) = read_connect(data) {
        assert_eq!(dispatch(data), Dispatch::Gnutella);
    }
}

/// Heads, paths, URLs and GIV lines are judged the same however their bytes arrive, and what is
/// written is read back as it was meant. No name is more than a name on the local disk.
///
/// `data` is texts with a byte 0x1e (record separator) between them.
pub fn http(data: &[u8]) {
    data.split(|&byte| byte == BETWEEN).for_each(http_text);
}

fn http_text(data: &[u8]) {
    stays_decided(data, |bytes| parse_request(bytes).transpose());
    stays_decided(data, |bytes| parse_response(bytes).transpose());
    stays_decided(data, |bytes| Giv::parse(bytes).transpose());
    match parse_request(data) {
        Ok(Some((head, len))) => request(&head, &data[..len]),
        Ok(None) => {}
        Err(error) => {
            said(&error);
            refusal(error.status());
        }
    }
    match parse_response(data) {
        Ok(Some((head, len))) => response(&head, &data[..len]),
        Ok(None) => {}
        Err(error) => said(&error),
    }
    match Giv::parse(data) {
        Ok(Some((giv, len))) => {
            assert!(data[..len].ends_with(b"\n"));
            let mut line = Vec::new();
            giv.write(&mut line);
            let (again, len) = Giv::parse(&line).expect("our own line").expect("and all of it");
            assert_eq!(len, line.len());
            assert_eq!((again.index, again.servent_id), (giv.index, giv.servent_id));
        }
        Ok(None) => {}
        Err(error) => said(&error),
    }
    // Paths are parsed on their own too, so that the fuzzer need not find a request around them.
    path(data);
    let text = String::from_utf8_lossy(data);
    url(&text);
    local_name(&text);
}

fn request(head: &RequestHead, bytes: &[u8]) {
    assert!(bytes.ends_with(b"\n"));
    assert_eq!(parse_request(bytes), Ok(Some((head.clone(), bytes.len()))));
    assert_eq!(head.path.first(), Some(&b'/'));
    assert!(!head.path.iter().any(u8::is_ascii_control), "nothing that could end a line");
    for size in [0, 1, 5, u64::from(u32::MAX)] {
        if let Some(Ok(Some((from, len)))) = head.range.map(|range| range.resolve(size)) {
            let end = from.checked_add(len).expect("a range of a file has an end");
            assert!(len > 0 && end <= size, "{from}+{len} of {size}");
        }
    }
    path(&head.path);
    let mut written = Vec::new();
    GetRequest { path: &head.path, host: "192.0.2.1:6346", from: 7, to: None }.write(&mut written);
    // Our own header lines may take a path that only just fitted over the limit.
    if let Ok(Some((again, len))) = parse_request(&written) {
        assert_eq!((again.path == head.path, len), (true, written.len()));
    }
}

/// The answer to a malformed request.
fn refusal(status: Status) {
    let reply = Reply {
        version: Version::Http11,
        status,
        keep_alive: false,
        length: 0,
        range: None,
        is_page: false,
        retry_after: None,
    };
    let mut written = Vec::new();
    reply.write(&mut written);
    let (head, len) = parse_response(&written).expect("our own head").expect("and all of it");
    assert_eq!((head.status, len), (status.code(), written.len()));
    assert!((400..600).contains(&head.status) && !head.keep_alive, "{head:?}");
}

fn response(head: &ResponseHead, bytes: &[u8]) {
    assert_eq!(parse_response(bytes), Ok(Some((head.clone(), bytes.len()))));
    assert!((100..1000).contains(&head.status));
    if let Some(range) = head.content_range {
        assert!(range.span.is_none_or(|(first, last)| first <= last && last < u64::MAX));
    }
    let mut written = Vec::new();
    let reply = Reply {
        version: Version::Http11,
        status: Status::PartialContent,
        keep_alive: head.keep_alive,
        length: head.content_length.unwrap_or(0),
        range: head.content_range,
        is_page: false,
        retry_after: head.retry_after,
    };
    reply.write(&mut written);
    let (again, len) = parse_response(&written).expect("our own head").expect("and all of it");
    assert_eq!((len, again.status), (written.len(), Status::PartialContent.code()));
    assert_eq!(again.content_length, Some(reply.length));
    assert_eq!(again.content_range, head.content_range);
    assert_eq!(again.keep_alive, head.keep_alive);
    assert_eq!(again.retry_after, head.retry_after);
}

fn path(bytes: &[u8]) {
    let path = match GetPath::parse(bytes) {
        Ok(path) => path,
        Err(error) => return said(&error),
    };
    assert!(path.names().next().is_some(), "no reading of the name");
    for name in path.names() {
        assert!(!name.is_empty() && name != "." && name != "..", "{name:?}");
        assert!(!name.contains(['/', '\\', '\0']), "{name:?}");
        let written = format!("/get/{}/{}", path.index, encode_name(name));
        let again = GetPath::parse(written.as_bytes()).expect("a path of our own");
        assert_eq!((again.index, again.decoded.as_deref()), (path.index, Some(name)));
    }
}

fn url(text: &str) {
    match text.parse::<TransferUrl>() {
        Ok(url) => {
            said(&url);
            assert!(!url.host.is_empty() && url.port > 0 && !url.name.is_empty(), "{url:?}");
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        Err(error) => said(&error),
    }
}

/// Any remote name is saved under a plain name and shown without control characters.
fn local_name(remote: &str) {
    let name = safe_local_name(remote);
    assert!((1..=MAX_NAME_BYTES).contains(&name.len()), "{name:?}");
    assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.contains(['/', '\\', ':']), "{name:?}");
    assert_eq!(safe_local_name(&name), name, "safe names come back unchanged");
    assert_eq!(escape_for_terminal(&name).to_string(), name, "and show as they are");
    let shown = escape_for_terminal(remote).to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Reads prefixes of `data` from short to long: once `read` has a verdict, every longer prefix
/// gets the same. Verdicts fall where a tag or a line ends, so those prefixes are tried, and a few
/// in between.
fn stays_decided<T: Debug + PartialEq>(data: &[u8], read: impl Fn(&[u8]) -> Option<T>) {
    const TAG_BYTES: usize = 24;
    let step = data.len() / 16 + 1;
    let ends_line = |at: usize| data.get(at).is_some_and(|byte| matches!(byte, b'\r' | b'\n'));
    let worth_a_try =
        |&len: &usize| len <= TAG_BYTES || len % step == 0 || ends_line(len) || ends_line(len - 1);
    let lengths = (0..data.len()).filter(worth_a_try).take(MAX_PREFIXES).chain([data.len()]);
    let mut verdict = None;
    for len in lengths {
        let now = read(&data[..len]);
        if let Some(earlier) = &verdict {
            assert_eq!(now.as_ref(), Some(earlier), "another verdict after {len} bytes");
        }
        verdict = now;
    }
}
