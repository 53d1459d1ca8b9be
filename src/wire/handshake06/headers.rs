//! The headers of one leg of the handshake, and what their values say.

use std::net::SocketAddrV4;

/// The headers of a leg in order, each name once. Names are tokens, values hold no control characters;
/// so what is written is read again as the same headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    list: Vec<(String, String)>,
}

impl Headers {
    /// Adds a header; a name that is there already gets a longer list. A name that is no token is
    /// left out.
    pub fn add(&mut self, name: &str, value: &str) {
        if !is_token(name) {
            return;
        }
        let value = clean(value);
        match self.position(name) {
            Some(at) => join(&mut self.list[at].1, ", ", &value),
            None => self.list.push((name.to_owned(), value)),
        }
    }

    /// The value of a header, without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).map(|at| self.list[at].1.as_str())
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The items of a comma-separated list; none if the header is missing.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &str> {
        let items = self.get(name).unwrap_or_default().split(',');
        items.map(str::trim).filter(|item| !item.is_empty())
    }

    /// The value as a truth: `X-Ultrapeer: True`. `None` if the header is missing or says neither.
    pub fn truth(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        let says = |word| value.eq_ignore_ascii_case(word);
        (says("true") || says("false")).then(|| says("true"))
    }

    /// The well-formed addresses of a list such as that of `X-Try`; other items are passed over.
    pub fn addresses(&self, name: &str) -> impl Iterator<Item = SocketAddrV4> {
        self.items(name).filter_map(|item| item.parse().ok())
    }

    /// Whether the sender can inflate: `Accept-Encoding` lists deflate.
    pub fn accepts_deflate(&self) -> bool {
        self.lists_deflate("Accept-Encoding")
    }

    /// Whether the sender deflates what it sends after the handshake. Only legal if the other side
    /// accepts it.
    pub fn announces_deflate(&self) -> bool {
        self.lists_deflate("Content-Encoding")
    }

    fn lists_deflate(&self, name: &str) -> bool {
        self.items(name).any(|item| item.eq_ignore_ascii_case("deflate"))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Reads header lines, each without its LF, up to the empty one.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Headers {
        let mut headers = Headers::default();
        // A header with its continuations, before it joins those of its name.
        let mut open: Option<(String, String)> = None;
        for line in lines {
            let text = String::from_utf8_lossy(line);
            if text.starts_with([' ', '\t']) {
                if let Some((_, value)) = &mut open {
                    join(value, " ", &clean(&text));
                }
                continue;
            }
            if let Some((name, value)) = open.take() {
                headers.add(&name, &value);
            }
            open = text.split_once(':').map(|(name, value)| (name.trim().to_owned(), clean(value)));
        }
        headers
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
}

/// Text that cannot end a line: control characters become spaces, none at either end.
pub(super) fn clean(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().to_owned()
}

fn join(value: &mut String, between: &str, more: &str) {
    if !value.is_empty() && !more.is_empty() {
        value.push_str(between);
    }
    value.push_str(more);
}

/// Whether text is a token of RFC 822: printable ASCII without separators.
fn is_token(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    !name.is_empty() && name.bytes().all(part)
}
