//! Prints items, as lines for people or as one JSON object a line.

use crate::capture::{Content, Item, Origin, Position};
use crate::cli::exit::Failure;
use crate::transfer::names::escape_for_terminal;
use crate::wire::{
    Bye, DecodeError, HEADER_BYTES, Header, Kind, MinSpeed, Ping, Pong, Push, Query, QueryHit,
};
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

/// Most opaque bytes shown to people; `--json` has all.
const MAX_HEX_BYTES: usize = 256;

/// Most characters shown of the first line of a foreign stream.
const MAX_LINE_CHARS: usize = 200;

/// Most bytes of a name or text shown to people; file systems allow names of 255.
const MAX_TEXT_BYTES: usize = 512;

/// Prints items and counts them.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// Start of the capture; people are shown times relative to it.
    start: Duration,
    pub(super) count: Count,
}

/// Numbers of printed items.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) handshakes: u64,
    pub(super) descriptors: u64,
    pub(super) malformed: u64,
    pub(super) cut_short: u64,
    pub(super) lost_bytes: u64,
    pub(super) missing_bytes: u64,
}

/// A line of `--json`. Scripts rely on the names.
#[derive(Debug, Serialize)]
struct JsonLine<'a, F> {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    kind: &'a str,
    #[serde(flatten)]
    fields: F,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct DescriptorLine {
    guid: String,
    code: u8,
    ttl: u8,
    hops: u8,
    length: u32,
    #[serde(flatten)]
    payload: Fields,
}

#[derive(Debug, Serialize)]
struct StreamLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    length: u64,
}

/// The named fields of one kind of payload; opaque bytes are hex.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Fields {
    Ping {
        extension: String,
    },
    Pong {
        host: String,
        port: u16,
        files: u32,
        kib: u32,
        extension: String,
    },
    Bye {
        code: u16,
        text: String,
        extension: String,
    },
    Push {
        servent_id: String,
        index: u32,
        host: String,
        port: u16,
        extension: String,
    },
    Query {
        min_speed_kbps: Option<u16>,
        flags: Option<u16>,
        criteria: String,
        extension: String,
    },
    QueryHit(Box<HitFields>),
    /// Of an unknown kind, malformed or cut short.
    Opaque {
        payload: String,
    },
}

#[derive(Debug, Serialize)]
struct HitFields {
    host: String,
    port: u16,
    speed_kbps: u32,
    results: Vec<ResultFields>,
    vendor: Option<String>,
    push: Option<bool>,
    busy: Option<bool>,
    /// The trailer's open data.
    open: Option<String>,
    /// The trailer's private bytes; all bytes of a malformed trailer.
    extension: String,
    servent_id: String,
}

#[derive(Debug, Serialize)]
struct ResultFields {
    index: u32,
    size: u32,
    name: String,
    extension: String,
}

impl Printer {
    pub(super) fn new(json: bool, start: Duration) -> Printer {
        let out = BufWriter::new(io::stdout().lock());
        Printer { out, json, start, count: Count::default() }
    }

    /// Prints one item.
    ///
    /// # Errors
    /// With code 0 and no text when the reader of stdout is gone.
    pub(super) fn item(&mut self, item: &Item<'_>) -> Result<(), Failure> {
        self.try_item(item).map_err(|error| Failure::of_output(&error))
    }

    /// Flushes the output.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::of_output(&error))
    }

    fn try_item(&mut self, item: &Item<'_>) -> io::Result<()> {
        let position = item.position;
        match &item.content {
            Content::Handshake(bytes) => {
                self.count.handshakes += 1;
                self.handshake(position, bytes)
            }
            Content::Descriptor(header, payload) => {
                self.count.descriptors += 1;
                let (fields, error) = fields(header.kind, payload);
                self.count.malformed += u64::from(error.is_some());
                self.descriptor(position, header, fields, error.map(|error| error.to_string()))
            }
            Content::CutShort { header: Some(header), bytes } => {
                self.count.cut_short += 1;
                let (expected, got) = (header.payload_len, bytes.len());
                let error = format!("cut short: expected {expected} payload bytes, {got} came");
                self.descriptor(
                    position,
                    header,
                    Fields::Opaque { payload: hex(bytes) },
                    Some(error),
                )
            }
            Content::CutShort { header: None, bytes } => {
                self.count.cut_short += 1;
                let got = bytes.len();
                let error =
                    format!("cut short: expected a header of {HEADER_BYTES} bytes, {got} came");
                self.stream(position, "cut_short", None, got as u64, Some(error))
            }
            Content::Lost { length, reason } => {
                self.count.lost_bytes += length;
                self.stream(position, "lost", None, *length, Some(reason.clone()))
            }
            Content::Missing(length) => {
                self.count.missing_bytes += length;
                let error = "the capture has a hole before this".to_owned();
                self.stream(position, "missing", None, *length, Some(error))
            }
            Content::Other { beginning, length } => {
                self.stream(position, "other", first_line(beginning), *length, None)
            }
        }
    }

    fn handshake(&mut self, position: Position, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines().filter(|line| !line.is_empty()).map(str::to_owned);
        let line = lines.next();
        let (headers, length) = (lines.collect(), bytes.len() as u64);
        if self.json {
            return self.json(position, "hello", StreamLine { line, headers, length }, None);
        }
        self.position(position)?;
        writeln!(
            self.out,
            "  hello  {}",
            escape_for_terminal(line.as_deref().unwrap_or_default())
        )?;
        for header in headers {
            writeln!(self.out, "            {}", escape_for_terminal(&header))?;
        }
        Ok(())
    }

    fn stream(
        &mut self,
        position: Position,
        kind: &str,
        line: Option<String>,
        length: u64,
        error: Option<String>,
    ) -> io::Result<()> {
        if self.json {
            let headers = Vec::new();
            return self.json(position, kind, StreamLine { line, headers, length }, error);
        }
        self.position(position)?;
        let what = match kind {
            "other" => "not Gnutella",
            "cut_short" => "incomplete header",
            kind => kind,
        };
        write!(self.out, "  {what}, {length} bytes")?;
        if let Some(line) = line {
            write!(self.out, ": {}", escape_for_terminal(&line))?;
        }
        if let Some(error) = error {
            write!(self.out, ": {error}")?;
        }
        writeln!(self.out)
    }

    fn json(
        &mut self,
        position: Position,
        kind: &str,
        fields: impl Serialize,
        error: Option<String>,
    ) -> io::Result<()> {
        let origin = position.origin;
        let line = JsonLine {
            offset: position.offset,
            time: origin.map(|origin| origin.time.as_secs_f64()),
            from: origin.map(|origin| origin.from.to_string()),
            to: origin.map(|origin| origin.to.to_string()),
            kind,
            fields,
            error,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        writeln!(self.out)
    }

    fn position(&mut self, position: Position) -> io::Result<()> {
        match position.origin {
            Some(Origin { time, from, to, .. }) => {
                let since = time.saturating_sub(self.start).as_secs_f64();
                write!(self.out, "{since:>11.6}  {from} > {to}  @{}", position.offset)
            }
            None => write!(self.out, "{:>8}", format!("@{}", position.offset)),
        }
    }

    fn descriptor(
        &mut self,
        position: Position,
        header: &Header,
        fields: Fields,
        error: Option<String>,
    ) -> io::Result<()> {
        let Header { guid, kind, ttl, hops, payload_len: length } = *header;
        if self.json {
            let guid = guid.to_string();
            let line =
                DescriptorLine { guid, code: kind.code(), ttl, hops, length, payload: fields };
            return self.json(position, kind.name(), line, error);
        }
        self.position(position)?;
        let unknown = format!("unknown kind 0x{:02x}", kind.code());
        let name = match kind {
            Kind::Other(_) => unknown,
            kind => kind.to_string(),
        };
        writeln!(self.out, "  {name}  {guid}  TTL {ttl}, hops {hops}, {length} bytes")?;
        if let Some(error) = error {
            self.field("error", error)?;
        }
        self.fields(&fields)
    }

    fn fields(&mut self, fields: &Fields) -> io::Result<()> {
        match fields {
            Fields::Ping { extension } => self.hex("extension", extension),
            Fields::Pong { host, port, files, kib, extension } => {
                self.field("address", format_args!("{host}:{port}"))?;
                self.field("shares", format_args!("{files} files, {kib} KiB"))?;
                self.hex("extension", extension)
            }
            Fields::Bye { code, text, extension } => {
                self.field("code", code)?;
                self.field("text", shown(text))?;
                self.hex("extension", extension)
            }
            Fields::Push { servent_id, index, host, port, extension } => {
                self.field("servent", servent_id)?;
                self.field("index", index)?;
                self.field("address", format_args!("{host}:{port}"))?;
                self.hex("extension", extension)
            }
            Fields::Query { min_speed_kbps, flags, criteria, extension } => {
                if let Some(kbps) = min_speed_kbps {
                    self.field("min speed", format_args!("{kbps} kbit/s"))?;
                }
                if let Some(flags) = flags {
                    self.field("flags", format_args!("0x{flags:04x}{}", flag_names(*flags)))?;
                }
                self.field("criteria", shown(criteria))?;
                self.hex("extension", extension)
            }
            Fields::QueryHit(hit) => self.hit(hit),
            Fields::Opaque { payload } => self.hex("payload", payload),
        }
    }

    fn hit(&mut self, hit: &HitFields) -> io::Result<()> {
        self.field("address", format_args!("{}:{}", hit.host, hit.port))?;
        self.field("speed", format_args!("{} kbit/s", hit.speed_kbps))?;
        for ResultFields { index, size, name, extension } in &hit.results {
            let name = shown(name);
            self.field("result", format_args!("{index}: {name} ({size} bytes)"))?;
            self.hex("  extension", extension)?;
        }
        if let (Some(vendor), Some(open)) = (&hit.vendor, &hit.open) {
            let says = |flag: Option<bool>, yes: &'static str, no: &'static str| match flag {
                Some(true) => yes,
                Some(false) => no,
                None => "",
            };
            let push = says(hit.push, ", needs a Push", ", can be reached");
            let busy = says(hit.busy, ", busy", ", has a free slot");
            let vendor = escape_for_terminal(vendor);
            self.field("vendor", format_args!("{vendor}{push}{busy} (open data {open})"))?;
            self.hex("private", &hit.extension)?;
        } else {
            self.hex("trailer", &hit.extension)?;
        }
        self.field("servent", &hit.servent_id)
    }

    fn field(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.out, "            {name:<12} {value}")
    }

    /// A field of opaque bytes, given as hex; left out if there are none.
    fn hex(&mut self, name: &str, hex: &str) -> io::Result<()> {
        match hex.len() / 2 {
            0 => Ok(()),
            1..=MAX_HEX_BYTES => self.field(name, hex),
            all => {
                let shown = &hex[..2 * MAX_HEX_BYTES];
                self.field(name, format_args!("{shown}... ({all} bytes; --json has them all)"))
            }
        }
    }
}

/// Reads a payload; a malformed or unknown one is opaque.
fn fields(kind: Kind, payload: &[u8]) -> (Fields, Option<DecodeError>) {
    let read = match kind {
        Kind::Ping => {
            Ping::decode(payload).map(|ping| Fields::Ping { extension: hex(ping.extension) })
        }
        Kind::Pong => Pong::decode(payload).map(|pong| Fields::Pong {
            host: pong.addr.ip().to_string(),
            port: pong.addr.port(),
            files: pong.files,
            kib: pong.kib,
            extension: hex(pong.extension),
        }),
        Kind::Bye => Bye::decode(payload).map(|bye| Fields::Bye {
            code: bye.code,
            text: text(bye.text()),
            extension: hex(after_text(bye)),
        }),
        Kind::Push => Push::decode(payload).map(|push| Fields::Push {
            servent_id: push.servent.to_string(),
            index: push.index,
            host: push.addr.ip().to_string(),
            port: push.addr.port(),
            extension: hex(push.extension),
        }),
        Kind::Query => Query::decode(payload).map(|query| {
            let (min_speed_kbps, flags) = match query.speed {
                MinSpeed::Kbps(kbps) => (Some(kbps), None),
                MinSpeed::Flags(flags) => (None, Some(flags)),
            };
            let (criteria, extension) = (text(query.criteria), hex(query.extension));
            Fields::Query { min_speed_kbps, flags, criteria, extension }
        }),
        Kind::QueryHit => {
            QueryHit::decode(payload).map(|hit| Fields::QueryHit(Box::new(hit_fields(&hit))))
        }
        Kind::Other(_) => Ok(Fields::Opaque { payload: hex(payload) }),
    };
    match read {
        Ok(fields) => (fields, None),
        Err(error) => (Fields::Opaque { payload: hex(payload) }, Some(error)),
    }
}

fn hit_fields(hit: &QueryHit<'_>) -> HitFields {
    let trailer = hit.trailer();
    let results = hit.results().map(|result| ResultFields {
        index: result.index,
        size: result.size,
        name: text(result.name),
        extension: hex(result.extension),
    });
    HitFields {
        host: hit.addr.ip().to_string(),
        port: hit.addr.port(),
        speed_kbps: hit.speed_kbps,
        results: results.collect(),
        vendor: trailer.map(|trailer| text(&trailer.vendor)),
        push: trailer.and_then(|trailer| trailer.push()),
        busy: trailer.and_then(|trailer| trailer.busy()),
        open: trailer.map(|trailer| hex(trailer.open)),
        extension: hex(trailer.map_or(hit.trailer_bytes, |trailer| trailer.private)),
        servent_id: hit.servent.to_string(),
    }
}

/// The bytes after a Bye's text, without its final NUL.
fn after_text(bye: Bye<'_>) -> &[u8] {
    match &bye.rest[bye.text().len()..] {
        [0] => &[],
        rest => rest,
    }
}

/// The meaning of the flags of a Query (protocol 2.6).
fn flag_names(flags: u16) -> String {
    const NAMES: [(u16, &str); 6] = [
        (0x4000, "firewalled"),
        (0x2000, "wants XML"),
        (0x1000, "leaf-guided"),
        (0x0800, "takes GGEP H"),
        (0x0400, "wants replies by UDP"),
        (0x0200, "firewall to firewall"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| flags & bit != 0);
    let mut text: String = set.map(|(_, name)| format!(", {name}")).collect();
    if flags & 0xff != 0 {
        text += &format!(", at most {} hits", flags & 0xff);
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Text from the network; bytes that are not UTF-8 are replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text from the network, shortened and escaped for a terminal.
fn shown(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let more = match text.len() - short.len() {
        0 => String::new(),
        more => format!("... ({more} bytes more)"),
    };
    format!("{}{more}", escape_for_terminal(short))
}

/// The first line of a foreign stream, if it is text.
fn first_line(bytes: &[u8]) -> Option<String> {
    let window = &bytes[..bytes.len().min(4 * MAX_LINE_CHARS)];
    let line = window.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line: String = text(line).chars().take(MAX_LINE_CHARS).collect();
    let is_text = !line.is_empty() && line.chars().all(|c| c == '\t' || !c.is_control());
    is_text.then_some(line)
}
