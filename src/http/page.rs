//! Pages: one text, put together of its parts, with a nonce of its own in each answer.

use uuid::Uuid;

/// The parts of a page. The HTML has `@@style@@` and `@@script@@` where the others belong, and
/// `@@nonce@@` wherever its answer's nonce does.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Its HTML.
    pub html: &'static str,
    /// Its style, in one part or several.
    pub style: &'static [&'static str],
    /// Its program, in one part or several.
    pub script: &'static [&'static str],
}

/// The page of one servent.
pub const SERVENT: Page = Page {
    html: include_str!("page/servent.html"),
    style: &[include_str!("page/servent.css")],
    script: &[
        include_str!("page/common.js"),
        include_str!("page/map.js"),
        include_str!("page/servent.js"),
    ],
};

/// The page of a test network.
pub const NETWORK: Page = Page {
    html: include_str!("page/network.html"),
    style: &[include_str!("page/servent.css"), include_str!("page/network.css")],
    script: &[
        include_str!("page/common.js"),
        include_str!("page/replay.js"),
        include_str!("page/network.js"),
    ],
};

impl Page {
    /// The page and its nonce: only style and program that carry it are taken by the browser.
    pub(super) fn with_nonce(&self) -> (String, String) {
        let nonce = Uuid::new_v4().simple().to_string();
        let html = self.html.replace("@@nonce@@", &nonce);
        let html = html.replace("@@style@@", &self.style.concat());
        (html.replace("@@script@@", &self.script.concat()), nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_a_nonce_of_its_own_and_nothing_from_elsewhere() {
        for page in [SERVENT, NETWORK] {
            is_sound(&page);
        }
    }

    fn is_sound(page: &Page) {
        let ((page, nonce), (_, other)) = (page.with_nonce(), page.with_nonce());
        assert_ne!(nonce, other);
        assert!(!page.contains("@@"));
        assert_eq!(
            page.matches("<script").count(),
            page.matches(&format!("<script nonce=\"{nonce}\"")).count()
        );
        assert_eq!(
            page.matches("<style").count(),
            page.matches(&format!("<style nonce=\"{nonce}\"")).count()
        );
        assert_eq!(page.matches("</script>").count(), 1, "the program ends where it is to");
        for word in
            ["http://", "https://", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            // Namespaces of SVG are no addresses.
            let found = page.replace("http://www.w3.org/", "").matches(word).count();
            assert_eq!(found, 0, "{word}");
        }
    }
}
