//! Explains extension bytes: GGEP, URNs, and where they stand.

use crate::wire::Urn;
use crate::wire::ggep::{Extension, Ggep, GgepError, MAGIC, Meaning, describe};
use crate::wire::huge::{AreaBlock, blocks};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::Value;

/// One thing that extension bytes say.
#[derive(Debug, Default, Serialize)]
pub(super) struct Explained {
    /// `ggep`, `urn`, `metadata` or `other`.
    pub(super) kind: &'static str,
    /// Of GGEP: the extension's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Of a known GGEP extension: what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'static str>,
    /// What its data says; a number, a list, text, or true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
    /// The value in words.
    #[serde(skip)]
    pub(super) words: Option<String>,
    /// The bytes, decoded, as hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// The extension of a Ping, Pong or Push: one GGEP block.
pub(super) fn of_block(bytes: &[u8]) -> Vec<Explained> {
    match Ggep::decode_all(bytes) {
        _ if bytes.is_empty() => Vec::new(),
        Ok(ggep) => ggep.extensions().map(of_ggep).collect(),
        Err(error) => vec![malformed(bytes, error)],
    }
}

/// The extension area of a Query or result.
pub(super) fn of_area(area: &[u8]) -> Vec<Explained> {
    let mut all = Vec::new();
    for block in blocks(area) {
        match block {
            AreaBlock::Ggep(ggep) => all.extend(ggep.extensions().map(of_ggep)),
            AreaBlock::Urn(urn) => all.push(of_urn(urn)),
            AreaBlock::BadGgep(bytes, error) => all.push(malformed(bytes, error)),
            AreaBlock::Metadata(bytes) => {
                let words = Some(String::from_utf8_lossy(bytes).into_owned());
                let value = words.clone().map(Value::from);
                all.push(Explained { kind: "metadata", value, words, ..Explained::default() });
            }
            AreaBlock::Other(bytes) => all.push(opaque("other", bytes)),
        }
    }
    all
}

/// The private bytes of a trailer: the vendor's own, GGEP from the first `c3` on, metadata.
pub(super) fn of_trailer(private: &[u8]) -> Vec<Explained> {
    let start = private.iter().position(|&byte| byte == MAGIC).unwrap_or(private.len());
    let (own, rest) = private.split_at(start);
    let mut all = Vec::new();
    if !own.is_empty() {
        all.push(opaque("other", own));
    }
    match Ggep::decode(rest) {
        _ if rest.is_empty() => {}
        Ok((ggep, behind)) => {
            all.extend(ggep.extensions().map(of_ggep));
            if !behind.is_empty() {
                all.push(opaque("metadata", behind));
            }
        }
        Err(error) => all.push(malformed(rest, error)),
    }
    all
}

fn of_urn(urn: Urn) -> Explained {
    let text = urn.to_string();
    let asks = if urn.is_request() { " (asks for URNs)" } else { "" };
    let words = Some(format!("{text}{asks}"));
    Explained { kind: "urn", value: Some(text.into()), words, ..Explained::default() }
}

fn of_ggep(extension: Extension<'_>) -> Explained {
    let id = Some(String::from_utf8_lossy(extension.id).into_owned());
    let plain = Explained { kind: "ggep", id, ..Explained::default() };
    let data = match extension.data() {
        Ok(data) => data,
        Err(error) => {
            let hex = Some(HEXLOWER.encode(extension.raw));
            return Explained { hex, error: Some(error.to_string()), ..plain };
        }
    };
    let (name, meaning) = match describe(extension.id, &data) {
        Some((name, meaning)) => (Some(name), meaning),
        None => (None, None),
    };
    let hex = Some(HEXLOWER.encode(&data)).filter(|hex| !hex.is_empty());
    let words = match &meaning {
        Some(Meaning::Present) | None => None,
        Some(meaning) => Some(meaning.to_string()),
    };
    Explained { name, value: meaning.as_ref().map(value), words, hex, ..plain }
}

fn value(meaning: &Meaning) -> Value {
    match meaning {
        Meaning::Present => true.into(),
        Meaning::Number(number) => (*number).into(),
        Meaning::Addresses(all) => all.iter().map(ToString::to_string).collect(),
        meaning => meaning.to_string().into(),
    }
}

fn opaque(kind: &'static str, bytes: &[u8]) -> Explained {
    Explained { kind, hex: Some(HEXLOWER.encode(bytes)), ..Explained::default() }
}

fn malformed(bytes: &[u8], error: GgepError) -> Explained {
    Explained { error: Some(error.to_string()), ..opaque("ggep", bytes) }
}
