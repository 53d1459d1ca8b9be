//! Moving files: HTTP as Gnutella servents speak it, as state machines without sockets and files.
//!
//! [`upload`] is one inbound connection, [`download`] fetches one file from one source. Both are
//! told what happened and asked what to do next; bytes of shared files never pass through an
//! upload, so that its owner can hand them from the page cache to the socket. [`names`] turns
//! names from the network into something the local disk and terminal can bear, [`url`] is how
//! people pass a source around.

pub mod download;
mod download_error;
mod download_step;
pub mod names;
mod partial_writer;
mod source;
pub mod upload;
pub mod url;

#[cfg(test)]
mod pipe_tests;

/// What an upload may serve.
pub trait SharedFiles {
    /// The number and the size in bytes of the file a peer means by `path`; see
    /// [`GetPath`](crate::wire::http_head::GetPath).
    fn find(&self, path: &crate::wire::http_head::GetPath) -> Option<(u32, u64)>;
}
