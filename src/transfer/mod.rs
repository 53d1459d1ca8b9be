//! File transfers: HTTP as Gnutella servents speak it, as state machines without sockets and files.
//!
//! | module | is |
//! |---|---|
//! | [`upload`] | one inbound connection |
//! | [`download`] | one file from one source |
//! | [`names`] | names from the network made safe for the local disk and terminal |
//! | [`url`] | a source as a URL |
//!
//! Both machines take inputs and return the next step. Bytes of shared files do not pass
//! through an upload: its owner sends them from the page cache to the socket.

pub mod download;
mod download_error;
mod download_step;
pub mod names;
mod partial_writer;
pub mod retries;
mod source;
pub mod upload;
pub mod url;

#[cfg(test)]
mod pipe_tests;

/// The files that an upload may serve.
pub trait SharedFiles {
    /// Number and size in bytes of the file that a peer requests by `path`; see
    /// [`GetPath`](crate::wire::http_head::GetPath).
    fn find(&self, path: &crate::wire::http_head::GetPath) -> Option<(u32, u64)>;

    /// The page for a browser that requests `/`, if there is one.
    fn index_page(&self) -> Option<Vec<u8>> {
        None
    }
}
