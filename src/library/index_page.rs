//! The page of shared files for a browser that asks the Gnutella port for `/`.

use super::Library;
use crate::wire::http_head::encode_name;
use std::fmt::Write;

/// Most bytes of a page: it is held in memory while a peer takes its time to read it.
pub const MAX_INDEX_BYTES: usize = 32 * 1024;
/// Room for what stands around the list.
const FRAME_BYTES: usize = 1024;

impl Library {
    /// The shared files as a page, each a link to its download; as many as fit into
    /// [`MAX_INDEX_BYTES`], and how many more there are. Names are escaped.
    pub fn index_page(&self) -> Vec<u8> {
        let mut rows = String::new();
        let mut shown = 0;
        for entry in self.entries() {
            let mut row = format!("<li><a href=\"/get/{}/", entry.number);
            escape(&encode_name(entry.name), &mut row);
            row.push_str("\">");
            escape(entry.name, &mut row);
            let _ = writeln!(row, "</a> {} bytes</li>", entry.size);
            if rows.len() + row.len() + FRAME_BYTES > MAX_INDEX_BYTES {
                break;
            }
            rows.push_str(&row);
            shown += 1;
        }
        let more = match self.len() - shown {
            0 => String::new(),
            more => format!("<p>and {more} more: search for them</p>\n"),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>Shared files</title>\n\
             <h1>{} shared files</h1>\n<ul>\n{rows}</ul>\n{more}</html>\n",
            self.len()
        )
        .into_bytes()
    }
}

/// Appends `text` so that HTML takes it for text.
fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::LibraryBuilder;

    fn page(names: &[String]) -> String {
        let mut builder = LibraryBuilder::new();
        for (number, name) in (1..).zip(names) {
            builder.add(number, name, 7).unwrap();
        }
        let library = std::iter::repeat_with(|| builder.step(1_000)).flatten().next().unwrap();
        String::from_utf8(library.index_page()).unwrap()
    }

    #[test]
    fn names_are_text_and_links_lead_to_files() {
        let page = page(&["<img src=x onerror=alert(1)>.ogg".into(), "a\" b'&.txt".into()]);
        assert!(!page.contains("<img") && page.contains("&lt;img src=x"), "{page}");
        assert!(page.contains("a&quot; b&#39;&amp;.txt</a> 7 bytes"), "{page}");
        assert!(page.contains("<h1>2 shared files</h1>"), "{page}");
        for href in page.split("href=\"").skip(1) {
            let href = href.split('"').next().unwrap();
            assert!(href.starts_with("/get/") && !href.contains(['<', '>', ' ']), "{href}");
        }
    }

    #[test]
    fn a_page_is_bounded_and_says_what_it_leaves_out() {
        let names: Vec<String> = (0..2_000).map(|number| format!("file {number}.ogg")).collect();
        let page = page(&names);
        assert!(page.len() <= MAX_INDEX_BYTES && page.len() > MAX_INDEX_BYTES / 2);
        let shown = page.matches("<li>").count();
        assert!(page.contains(&format!("and {} more", 2_000 - shown)), "{shown}");
    }
}
