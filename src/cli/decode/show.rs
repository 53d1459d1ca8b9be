//! Prints items, as lines for people or as one JSON object a line.

use super::extensions::Explained;
use super::fields::{Fields, HitFields, ResultFields, fields, hex, text};
use crate::capture::{Content, Item, Origin, Position};
use crate::cli::exit::Failure;
use crate::transfer::names::escape_for_terminal;
use crate::wire::handshake06::{LegError, LegReader};
use crate::wire::qrp::{PLAIN, QRP, QrpReceiver, ZLIB};
use crate::wire::{HEADER_BYTES, Header, Kind, vendor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Most opaque bytes shown to people; `--json` has all.
const MAX_HEX_BYTES: usize = 256;

/// Most characters shown of the first line of a foreign stream.
const MAX_LINE_CHARS: usize = 200;

/// Most bytes of a name or text shown to people; file systems allow names of 255.
const MAX_TEXT_BYTES: usize = 512;

/// Most directions whose query routing tables are followed, at up to 256 KiB each: more leaves than an
/// ultrapeer has.
const MAX_TABLES: usize = 512;

/// Prints items and counts them.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// Start of the capture; people are shown times relative to it.
    start: Duration,
    /// The tables sent so far, by sender and receiver.
    tables: BTreeMap<Option<(SocketAddrV4, SocketAddrV4)>, QrpReceiver>,
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

impl Printer {
    pub(super) fn new(json: bool, start: Duration) -> Printer {
        let out = BufWriter::new(io::stdout().lock());
        let tables = BTreeMap::new();
        Printer { out, json, start, tables, count: Count::default() }
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
                let table = self.table(header.kind, position);
                let (fields, error) = fields(header.kind, payload, table);
                self.count.malformed += u64::from(error.is_some());
                self.descriptor(position, header, fields, error)
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

    /// The table that a query routing message changes, unless too many are followed already.
    fn table(&mut self, kind: Kind, position: Position) -> Option<&mut QrpReceiver> {
        let key = position.origin.map(|origin| (origin.from, origin.to));
        let is_full = self.tables.len() >= MAX_TABLES && !self.tables.contains_key(&key);
        (kind == QRP && !is_full).then(|| self.tables.entry(key).or_default())
    }

    fn handshake(&mut self, position: Position, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines().filter(|line| !line.is_empty()).map(str::to_owned);
        let line = lines.next();
        let (headers, length) = (lines.collect(), bytes.len() as u64);
        // 0.4 knows other first lines than 0.6 and has no limits.
        let error = LegReader::default().read(bytes).err();
        let error = error.filter(|error| !matches!(error, LegError::FirstLine { .. }));
        if self.json {
            let error = error.map(|error| error.to_string());
            return self.json(position, "hello", StreamLine { line, headers, length }, error);
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
        if let Some(error) = error {
            self.field("error", error)?;
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
            return self.json(position, kind_name(kind), line, error);
        }
        self.position(position)?;
        let unknown = format!("unknown kind 0x{:02x}", kind.code());
        let name = match kind {
            QRP => "Query routing".to_owned(),
            vendor::EXPERIMENTAL | vendor::STANDARD => "Vendor message".to_owned(),
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
            Fields::Ping { extensions, .. } => self.extensions("", extensions),
            Fields::Pong { host, port, files, kib, extensions, .. } => {
                self.field("address", format_args!("{host}:{port}"))?;
                self.field("shares", format_args!("{files} files, {kib} KiB"))?;
                self.extensions("", extensions)
            }
            Fields::Bye { code, text, headers, extension } => {
                self.field("code", code)?;
                self.field("text", shown(text))?;
                headers.iter().try_for_each(|header| self.field("header", shown(header)))?;
                // What is neither: a text without end, or bytes behind it.
                if headers.is_empty() { self.hex("extension", extension) } else { Ok(()) }
            }
            Fields::Push { servent_id, index, host, port, extensions, .. } => {
                self.field("servent", servent_id)?;
                self.field("index", index)?;
                self.field("address", format_args!("{host}:{port}"))?;
                self.extensions("", extensions)
            }
            Fields::Query { min_speed_kbps, flags, criteria, extensions, .. } => {
                if let Some(kbps) = min_speed_kbps {
                    self.field("min speed", format_args!("{kbps} kbit/s"))?;
                }
                if let Some(flags) = flags {
                    self.field("flags", format_args!("0x{flags:04x}{}", flag_names(*flags)))?;
                }
                self.field("criteria", shown(criteria))?;
                self.extensions("", extensions)
            }
            Fields::QueryHit(hit) => self.hit(hit),
            Fields::Reset { slots, infinity, .. } => {
                self.field("reset", format_args!("{slots} slots, infinity {infinity}"))
            }
            Fields::Patch { .. } => self.patch(fields),
            Fields::Vendor { vendor, selector, version, meaning, data } => {
                let id = format_args!("{vendor}/{selector} v{version}").to_string();
                self.field("message", shown(&id))?;
                match meaning {
                    Some(meaning) => self.field("meaning", shown(meaning)),
                    None => self.hex("data", data),
                }
            }
            Fields::Opaque { payload } => self.hex("payload", payload),
        }
    }

    fn patch(&mut self, patch: &Fields) -> io::Result<()> {
        let Fields::Patch { number, count, compressor, entry_bits, data, slots, set_slots, .. } =
            patch
        else {
            return Ok(());
        };
        let data_bytes = data.len() / 2;
        let packing = match *compressor {
            PLAIN => "plain".to_owned(),
            ZLIB => "zlib".to_owned(),
            other => format!("compressor {other}"),
        };
        let entries = format_args!("{entry_bits}-bit entries, {packing}, {data_bytes} bytes");
        self.field("patch", format_args!("{number} of {count}, {entries}"))?;
        match slots.zip(*set_slots) {
            Some((slots, set)) => {
                self.field("table", format_args!("complete: {set} of {slots} slots set"))
            }
            None => Ok(()),
        }
    }

    /// What extension bytes say, a line each; `indent` stands before each name.
    fn extensions(&mut self, indent: &str, all: &[Explained]) -> io::Result<()> {
        for Explained { kind, id, name, words, hex, error, .. } in all {
            let label = match id {
                Some(id) => format!("{indent}GGEP {}", shown(id)),
                None => format!("{indent}{}", if *kind == "ggep" { "GGEP" } else { kind }),
            };
            match (error, name, words, hex) {
                (Some(error), ..) => self.field(&label, error)?,
                (None, Some(name), Some(words), _) => {
                    self.field(&label, format_args!("{name}: {}", shown(words)))?;
                }
                (None, None, Some(words), _) => self.field(&label, shown(words))?,
                (None, name, None, hex) => {
                    let name = name.unwrap_or_default();
                    let hex = hex.as_deref().unwrap_or_default();
                    let between = if name.is_empty() || hex.is_empty() { "" } else { ": " };
                    self.field(&label, format_args!("{name}{between}{}", short_hex(hex)))?;
                }
            }
        }
        Ok(())
    }

    fn hit(&mut self, hit: &HitFields) -> io::Result<()> {
        self.field("address", format_args!("{}:{}", hit.host, hit.port))?;
        self.field("speed", format_args!("{} kbit/s", hit.speed_kbps))?;
        for ResultFields { index, size, name, extensions, .. } in &hit.results {
            let name = shown(name);
            let in_full = extensions.iter().find(|it| it.id.as_deref() == Some("LF"));
            let size = in_full.and_then(|it| it.words.clone()).unwrap_or_else(|| size.to_string());
            self.field("result", format_args!("{index}: {name} ({size} bytes)"))?;
            self.extensions("  ", extensions)?;
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
            self.extensions("  ", &hit.extensions)?;
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
        if hex.is_empty() { Ok(()) } else { self.field(name, short_hex(hex)) }
    }
}

/// Hex for people: all of it, or its beginning and how much there is.
fn short_hex(hex: &str) -> String {
    match hex.len() / 2 {
        0..=MAX_HEX_BYTES => hex.to_owned(),
        all => format!("{}... ({all} bytes; --json has them all)", &hex[..2 * MAX_HEX_BYTES]),
    }
}

/// The name of a kind in JSON.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        QRP => "qrp",
        vendor::EXPERIMENTAL | vendor::STANDARD => "vendor",
        kind => kind.name(),
    }
}

/// The meaning of the flags of a Query (protocol 2.6).
fn flag_names(flags: u16) -> String {
    const NAMES: [(u16, &str); 7] = [
        (0x4000, "firewalled"),
        (0x2000, "wants XML"),
        (0x1000, "leaf-guided"),
        (0x0800, "takes GGEP H"),
        (0x0400, "wants replies by UDP"),
        (0x0200, "firewall to firewall"),
        (0x0100, "semi-reliable UDP"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| flags & bit != 0);
    let mut text: String = set.map(|(_, name)| format!(", {name}")).collect();
    if flags & 0xff != 0 {
        text += &format!(", at most {} hits", flags & 0xff);
    }
    text
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
