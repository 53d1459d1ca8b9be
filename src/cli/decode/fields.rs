//! The named fields of payloads.

use super::extensions::{self, Explained};
use crate::wire::qrp::{self, Qrp, QrpError, QrpReceiver, QrpTable};
use crate::wire::vendor::{self, MessageId, VendorMessage};
use crate::wire::{Bye, Kind, MinSpeed, Ping, Pong, Push, Query, QueryHit};
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::error::Error;

/// The named fields of one kind of payload; opaque bytes are hex.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Fields {
    Ping {
        extension: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        extensions: Vec<Explained>,
    },
    Pong {
        host: String,
        port: u16,
        files: u32,
        kib: u32,
        extension: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        extensions: Vec<Explained>,
    },
    Bye {
        code: u16,
        text: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<String>,
        extension: String,
    },
    Push {
        servent_id: String,
        index: u32,
        host: String,
        port: u16,
        extension: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        extensions: Vec<Explained>,
    },
    Query {
        min_speed_kbps: Option<u16>,
        flags: Option<u16>,
        criteria: String,
        extension: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        extensions: Vec<Explained>,
    },
    QueryHit(Box<HitFields>),
    Reset {
        message: &'static str,
        slots: u32,
        infinity: u8,
    },
    Patch {
        message: &'static str,
        number: u8,
        count: u8,
        compressor: u8,
        entry_bits: u8,
        /// Its entries, as they came.
        data: String,
        /// Of the last of a sequence: slots of the table, and those set after it.
        slots: Option<usize>,
        set_slots: Option<usize>,
    },
    Vendor {
        vendor: String,
        selector: u16,
        version: u16,
        meaning: Option<String>,
        data: String,
    },
    /// Of an unknown kind, malformed or cut short.
    Opaque {
        payload: String,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct HitFields {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) speed_kbps: u32,
    pub(super) results: Vec<ResultFields>,
    pub(super) vendor: Option<String>,
    pub(super) push: Option<bool>,
    pub(super) busy: Option<bool>,
    /// The trailer's open data.
    pub(super) open: Option<String>,
    /// The trailer's private bytes; all bytes of a malformed trailer.
    pub(super) extension: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) extensions: Vec<Explained>,
    pub(super) servent_id: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ResultFields {
    pub(super) index: u32,
    pub(super) size: u32,
    pub(super) name: String,
    pub(super) extension: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) extensions: Vec<Explained>,
}

/// Reads a payload; a malformed or unknown one is opaque.
///
/// `table` is that of the direction the payload came in, if it is followed.
pub(super) fn fields(
    kind: Kind,
    payload: &[u8],
    table: Option<&mut QrpReceiver>,
) -> (Fields, Option<String>) {
    let read = match kind {
        Kind::Ping => Ping::decode(payload).map(|ping| Fields::Ping {
            extension: hex(ping.extension),
            extensions: extensions::of_block(ping.extension),
        }),
        Kind::Pong => Pong::decode(payload).map(|pong| Fields::Pong {
            host: pong.addr.ip().to_string(),
            port: pong.addr.port(),
            files: pong.files,
            kib: pong.kib,
            extension: hex(pong.extension),
            extensions: extensions::of_block(pong.extension),
        }),
        Kind::Bye => Bye::decode(payload).map(|bye| Fields::Bye {
            code: bye.code,
            text: text(bye.text()),
            headers: bye.headers().map(text).collect(),
            extension: hex(after_text(bye)),
        }),
        Kind::Push => Push::decode(payload).map(|push| Fields::Push {
            servent_id: push.servent.to_string(),
            index: push.index,
            host: push.addr.ip().to_string(),
            port: push.addr.port(),
            extension: hex(push.extension),
            extensions: extensions::of_block(push.extension),
        }),
        Kind::Query => Query::decode(payload).map(|query| {
            let (min_speed_kbps, flags) = match query.speed {
                MinSpeed::Kbps(kbps) => (Some(kbps), None),
                MinSpeed::Flags(flags) => (None, Some(flags)),
            };
            let (criteria, extension) = (text(query.criteria), hex(query.extension));
            let extensions = extensions::of_area(query.extension);
            Fields::Query { min_speed_kbps, flags, criteria, extension, extensions }
        }),
        Kind::QueryHit => {
            QueryHit::decode(payload).map(|hit| Fields::QueryHit(Box::new(hit_fields(&hit))))
        }
        qrp::QRP => return query_routing(payload, table),
        vendor::EXPERIMENTAL | vendor::STANDARD => {
            VendorMessage::decode(kind, payload).map(vendor_fields)
        }
        Kind::Other(_) => Ok(Fields::Opaque { payload: hex(payload) }),
    };
    match read {
        Ok(fields) => (fields, None),
        Err(error) => malformed(payload, &error),
    }
}

fn malformed(payload: &[u8], error: &dyn Error) -> (Fields, Option<String>) {
    (Fields::Opaque { payload: hex(payload) }, Some(error.to_string()))
}

fn query_routing(payload: &[u8], table: Option<&mut QrpReceiver>) -> (Fields, Option<String>) {
    let message = match Qrp::decode(payload) {
        Ok(Qrp::Other(_)) => return (Fields::Opaque { payload: hex(payload) }, None),
        Ok(message) => message,
        Err(error) => return malformed(payload, &error),
    };
    let mut error = None;
    let mut complete = None;
    if let Some(table) = table {
        match table.apply(&message) {
            Ok(true) => complete = table.table(),
            // The capture may begin behind the RESET.
            Ok(false) | Err(QrpError::NoReset) => {}
            Err(wrong) => error = Some(wrong.to_string()),
        }
    }
    let fields = match message {
        Qrp::Patch(patch) => Fields::Patch {
            message: "patch",
            number: patch.number,
            count: patch.count,
            compressor: patch.compressor,
            entry_bits: patch.entry_bits,
            data: hex(patch.data),
            slots: complete.map(QrpTable::slots),
            set_slots: complete.map(QrpTable::set_slots),
        },
        Qrp::Reset { slots, infinity } => Fields::Reset { message: "reset", slots, infinity },
        Qrp::Other(_) => Fields::Opaque { payload: hex(payload) },
    };
    (fields, error)
}

fn vendor_fields(message: VendorMessage<'_>) -> Fields {
    let MessageId { vendor, selector, version } = message.id;
    Fields::Vendor {
        vendor: vendor.to_string(),
        selector,
        version,
        meaning: message.meaning().map(|meaning| meaning.to_string()),
        data: hex(message.data),
    }
}

fn hit_fields(hit: &QueryHit<'_>) -> HitFields {
    let trailer = hit.trailer();
    let results = hit.results().map(|result| ResultFields {
        index: result.index,
        size: result.size,
        name: text(result.name),
        extension: hex(result.extension),
        extensions: extensions::of_area(result.extension),
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
        extensions: trailer.map_or_else(Vec::new, |it| extensions::of_trailer(it.private)),
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

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Text from the network; bytes that are not UTF-8 are replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
