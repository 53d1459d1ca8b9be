//! Fuzz target for the requests that the page's server reads.

use super::said::said;
use crate::http::request::{MAX_BODY_BYTES, MAX_HEAD_BYTES, Read, Refusal, RequestReader};

/// Streams up to this length are also read byte by byte.
const MAX_SINGLE_BYTES: usize = 1_024;

/// However a stream is cut into reads, the same requests come out of it and it is refused for the same
/// reason, or not; no reader holds more than a head and a body, or takes no more bytes without having
/// refused any.
///
/// The first byte of `data` is the size of the reads, the rest the stream.
pub fn http_server(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = read_all(stream, usize::MAX);
    assert_eq!(read_all(stream, usize::from(size).max(1)), whole, "reads of {size} bytes");
    if stream.len() <= MAX_SINGLE_BYTES {
        assert_eq!(read_all(stream, 1), whole, "single bytes");
    }
    if let Some(refused) = &whole.1 {
        said(refused);
        assert!((400..600).contains(&refused.status));
    }
    for one in &whole.0 {
        let Read::Request(request) = one else { continue };
        assert!(request.path.starts_with('/') && !request.path.contains(['?', ' ', '\r', '\n']));
        assert!(request.body.len() <= MAX_BODY_BYTES);
        assert!(!request.is_http11 || request.host.is_some());
        assert!(request.is_http11 || !request.keeps_alive);
        let fields = [&request.host, &request.origin, &request.authorization];
        for value in fields.into_iter().flatten().chain([&request.accept]) {
            assert!(!value.contains(['\r', '\n', '\0']), "a header ends with its line");
        }
    }
}

fn read_all(stream: &[u8], size: usize) -> (Vec<Read>, Option<Refusal>) {
    let (mut reader, mut found, mut left) = (RequestReader::default(), Vec::new(), stream);
    while !left.is_empty() {
        assert!((1..=MAX_HEAD_BYTES + 1).contains(&reader.room()), "it takes no more");
        let (now, later) = left.split_at(size.min(left.len()).min(reader.room()));
        reader.feed(now);
        left = later;
        loop {
            match reader.read() {
                Ok(Some(one)) => found.push(one),
                Ok(None) => break,
                Err(refused) => return (found, Some(refused)),
            }
        }
    }
    (found, None)
}
