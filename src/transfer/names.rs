//! Names from the network, made safe for the local disk and the terminal.
//!
//! A remote name is never a path: [`safe_local_name`] reduces it to a plain file name on every common
//! file system. [`escape_for_terminal`] shows any text without letting it move the cursor, change
//! colours or reverse other text.

use std::fmt::{self, Write as _};

/// Longest result of [`safe_local_name`], in bytes. File systems allow 255; the difference is for the
/// suffixes of a partial file and its record.
pub const MAX_NAME_BYTES: usize = 200;

/// Longest file extension, with its dot, that is kept when a long name is shortened.
const MAX_EXTENSION_BYTES: usize = 16;

/// A plain file name for the local disk: no folders, no drive, no characters special to file systems
/// or terminals, at most [`MAX_NAME_BYTES`] long, never empty, hidden or the name of a device. Safe
/// names are returned unchanged.
///
/// Names of partial downloads (`….part` and `….part.source`) get a `_` appended: a complete file must
/// not be taken for a partial one.
pub fn safe_local_name(remote: &str) -> String {
    let cleaned = remote.rsplit(['/', '\\']).map(clean_component).find(|name| !name.is_empty());
    let name = match cleaned {
        Some(name) if is_device(&name) => format!("_{name}"),
        Some(name) => name,
        None => "unnamed".to_owned(),
    };
    let mut name = shorten(name);
    if is_partial(&name) {
        name.truncate(MAX_NAME_BYTES - 1);
        name.push('_');
    }
    name
}

/// Whether partial downloads or their records may have such a name.
fn is_partial(name: &str) -> bool {
    has_ending(name, &[".part", ".part.source"])
}

/// Whether a name ends in one of these in any case: some file systems ignore case.
pub(crate) fn has_ending(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| {
        let start = name.len().checked_sub(ending.len());
        let tail = start.and_then(|start| name.as_bytes().get(start..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(ending.as_bytes()))
    })
}

/// Words of a file's name that find it.
pub fn search_words(name: &str) -> String {
    /// Longer searches are not relayed.
    const MAX_BYTES: usize = 100;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = stem.split(|letter: char| !letter.is_alphanumeric());
    let mut text = String::new();
    for word in words.filter(|word| word.chars().count() > 1) {
        if text.len() + word.len() < MAX_BYTES {
            text.push_str(word);
            text.push(' ');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Shows `text` with control, bidirectional and line-separating characters as `\u{..}` escapes.
pub fn escape_for_terminal(text: &str) -> impl fmt::Display {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_deceptive(c) { write!(f, "{}", c.escape_unicode())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Whether a character changes how other text is displayed.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' // marks of direction
            | '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{202a}'..='\u{202e}' // embeddings and overrides
            | '\u{2066}'..='\u{2069}') // isolates
}

fn clean_component(component: &str) -> String {
    let component = match component.as_bytes() {
        [drive, b':', ..] if drive.is_ascii_alphabetic() => &component[2..],
        _ => component,
    };
    let kept: String = component
        .chars()
        .filter(|&c| !is_deceptive(c))
        .map(|c| if matches!(c, ':' | '<' | '>' | '"' | '|' | '?' | '*') { '_' } else { c })
        .collect();
    trim_end(kept.trim_start_matches(['.', ' '])).to_owned()
}

/// Windows ignores dots and spaces at the end, so names that differ only there would collide.
fn trim_end(name: &str) -> &str {
    name.trim_end_matches(['.', ' '])
}

/// Whether a name is a device on Windows, with any extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        let rest = stem.strip_prefix(prefix).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(rest.as_deref(), Some(['0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}']))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
        || numbered("COM")
        || numbered("LPT")
}

fn shorten(name: String) -> String {
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let extension = match name.rfind('.') {
        Some(dot) if name.len() - dot <= MAX_EXTENSION_BYTES => &name[dot..],
        _ => "",
    };
    let room = name.floor_char_boundary(MAX_NAME_BYTES - extension.len());
    // The stem keeps more than its first character, which is neither a dot nor a space.
    format!("{}{extension}", trim_end(&name[..room]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_become_plain_ones() {
        // row P-100
        for (remote, local) in [
            ("hello.txt", "hello.txt"),
            ("../../x", "x"),
            ("a/b", "b"),
            ("a/..", "a"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\autoexec.bat", "autoexec.bat"),
            ("c:secret", "secret"),
            ("Song: live?.mp3", "Song_ live_.mp3"),
            ("CON", "_CON"),
            ("nul.tar.gz", "_nul.tar.gz"),
            ("com1 .txt", "_com1 .txt"),
            ("com10.txt", "com10.txt"),
            ("concert.mp3", "concert.mp3"),
            (".bashrc", "bashrc"),
            ("name. . .", "name"),
            ("", "unnamed"),
            ("x.10.part", "x.10.part_"),
            ("x.10.PART.Source", "x.10.PART.Source_"),
            ("x.part.txt", "x.part.txt"),
            ("../..", "unnamed"),
            ("\0\u{202e}", "unnamed"),
            ("gpj.\u{202e}exe\u{1b}[2J", "gpj.exe[2J"),
        ] {
            assert_eq!(safe_local_name(remote), local, "{remote:?}");
        }
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = safe_local_name(&format!("{}.tar", "\u{e4}".repeat(300)));
        assert!(name.len() <= MAX_NAME_BYTES && name.len() > MAX_NAME_BYTES - 2);
        assert!(name.ends_with("\u{e4}.tar"));
        assert_eq!(safe_local_name(&"x".repeat(300)).len(), MAX_NAME_BYTES);
        let cut = format!("{}.part{}", "x".repeat(MAX_NAME_BYTES - 5), "y".repeat(30));
        assert!(safe_local_name(&cut).ends_with("x.par_"));
    }

    #[test]
    fn terminal_text_cannot_act() {
        let shown = escape_for_terminal("a\u{1b}[31m\u{202e}b\n\u{e4}").to_string();
        assert_eq!(shown, "a\\u{1b}[31m\\u{202e}b\\u{a}\u{e4}");
    }

    proptest! {
        #[test]
        fn every_name_is_safe_and_stable(remote in "[a./\\\\: \u{202e}\u{e4}\\x00CON1]{0,300}|.{0,300}|[a.]{0,210}\\.(part|PART\\.source)[. ]{0,2}") {
            let local = safe_local_name(&remote);
            prop_assert!(!local.is_empty() && local.len() <= MAX_NAME_BYTES);
            prop_assert!(!is_partial(&local));
            prop_assert!(!local.starts_with('.') && !local.ends_with(['.', ' ']));
            prop_assert!(!local.contains(|c| matches!(c, '/' | '\\' | ':') || is_deceptive(c)));
            prop_assert_eq!(safe_local_name(&local), local);
        }
    }
}
