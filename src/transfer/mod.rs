//! Moving files: HTTP as Gnutella servents speak it, as state machines without sockets and files.
//!
//! [`upload`] is one inbound connection, [`download`] fetches one file from one source. Both are
//! told what happened and asked what to do next; bytes of shared files never pass through an
//! upload, so that its owner can hand them from the page cache to the socket. [`names`] turns
//! names from the network into something the local disk and terminal can bear, [`url`] is how
//! people pass a source around.

pub mod download;
mod download_error;
pub mod names;
mod partial_writer;
pub mod upload;
pub mod url;

#[cfg(test)]
mod pipe_tests;

/// The shared files, as far as uploads need them.
pub trait Shelf {
    /// The number and the size in bytes of the file a peer means by `index` and `name`: the file
    /// with this index if it has exactly this name, else the only file of this name (gtk-gnutella
    /// asks with index 0 for hits without a hash), else none.
    fn find(&self, index: u32, name: &str) -> Option<(u32, u64)>;
}
