//! An upload and a download joined by pipes: the exact bytes arrive under any split.

use super::SharedFiles;
use super::download::{Download, DownloadLimits, DownloadStep, Kept, Partial, Source};
use super::upload::{Piece, Slot, Upload, UploadLimits, UploadStep};
use crate::time::Instant;
use crate::wire::http_head::GetPath;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};

const NOW: Instant = Instant::ZERO;

struct OneFile<'a> {
    name: &'a str,
    size: u64,
}

impl SharedFiles for OneFile<'_> {
    fn find(&self, path: &GetPath) -> Option<(u32, u64)> {
        path.names().any(|name| name == self.name).then_some((4, self.size))
    }
}

/// The sizes of successive reads and writes, over and over.
struct Splits<'a>(std::iter::Cycle<std::slice::Iter<'a, usize>>);

impl Splits<'_> {
    fn next(&mut self) -> usize {
        *self.0.next().expect("at least one size")
    }
}

/// One step of the uploading side; `to_client` is its socket. False when there is nothing to do.
fn serve(
    upload: &mut Upload,
    shelf: &OneFile<'_>,
    content: &[u8],
    splits: &mut Splits<'_>,
    to_client: &mut Vec<u8>,
) -> bool {
    while let Some(step) = upload.poll(NOW, shelf, Slot::Free) {
        if let UploadStep::Open { size, .. } = step {
            upload.handle_opened(NOW, Ok(size));
        }
    }
    let most = splits.next();
    let piece = match upload.transmit() {
        None => return false,
        Some(Piece::Bytes(bytes)) => bytes[..bytes.len().min(most)].to_vec(),
        Some(Piece::File { offset, len }) => {
            let start = usize::try_from(offset).unwrap();
            content[start..][..usize::try_from(len).unwrap().min(most)].to_vec()
        }
    };
    upload.sent(NOW, piece.len());
    to_client.extend_from_slice(&piece);
    true
}

/// Runs the download to its end and returns what is then on the disk.
fn transfer(name: &str, content: &[u8], have: usize, size_known: bool, sizes: &[usize]) -> Vec<u8> {
    let mut splits = Splits(sizes.iter().cycle());
    let size = content.len() as u64;
    let shelf = OneFile { name, size };
    let source = Source {
        push: None,
        addr: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6346),
        index: 0,
        name: name.to_owned(),
        size: size_known.then_some(size),
    };
    let partial = Partial { have: have as u64, total: None, same_source: have.is_multiple_of(2) };
    let kept = Kept { partial: (have > 0).then_some(partial), complete: false };
    let mut disk = content[..have].to_vec();
    let mut upload = Upload::new(NOW, UploadLimits::default());
    let mut download = Download::new(NOW, source, kept, false, DownloadLimits::default()).unwrap();
    let mut to_client = Vec::new();
    for _ in 0..100_000 {
        while let Some(step) = download.poll() {
            match step {
                DownloadStep::Connect(_) => download.handle_connected(NOW, true),
                DownloadStep::Push(_) | DownloadStep::Disconnect | DownloadStep::Release => {}
                DownloadStep::Compare { offset, bytes, .. } => {
                    let start = usize::try_from(offset).unwrap();
                    download.handle_compared(NOW, disk[start..].starts_with(&bytes));
                }
                DownloadStep::OpenPartial { .. } => download.handle_file_opened(),
                DownloadStep::Write { offset, bytes } => {
                    assert_eq!(offset, disk.len() as u64);
                    disk.extend_from_slice(&bytes);
                    download.handle_written(NOW, bytes.len() as u64);
                }
                DownloadStep::Sync => download.handle_synced(),
                DownloadStep::Finish => download.handle_finished(),
                DownloadStep::SetAside { .. } | DownloadStep::UseComplete => panic!("{step:?}"),
                DownloadStep::Done { bytes, .. } => {
                    assert_eq!(bytes, size);
                    return disk;
                }
                DownloadStep::Fail(error) => panic!("{error}"),
            }
        }
        if let Some(request) = download.transmit() {
            let part = request[..request.len().min(splits.next())].to_vec();
            download.sent(part.len());
            upload.handle_bytes(NOW, &part);
        }
        serve(&mut upload, &shelf, content, &mut splits, &mut to_client);
        let read = to_client.len().min(splits.next());
        let bytes: Vec<u8> = to_client.drain(..read).collect();
        if !bytes.is_empty() {
            download.handle_bytes(NOW, &bytes);
        }
    }
    panic!("the transfer does not end");
}

proptest! {
    #[test]
    fn exact_bytes_arrive(
        name in "[a-zA-Z0-9 %.+&#?\u{e4}\u{4e2d}_-]{1,40}x",
        content in proptest::collection::vec(any::<u8>(), 0..3000),
        have in 0usize..3000,
        size_known in any::<bool>(),
        sizes in proptest::collection::vec(1usize..200, 1..20),
    ) {
        let have = have.min(content.len());
        prop_assert_eq!(transfer(&name, &content, have, size_known, &sizes), content);
    }

    #[test]
    fn any_bytes_leave_both_machines_whole(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        prefix in prop::sample::select(vec!["", "GET /get/1/", "HTTP/1.1 206 OK\r\n", "GIV 1:"]),
    ) {
        let bytes = [prefix.as_bytes(), &bytes, b"\r\n\r\n"].concat();
        let shelf = OneFile { name: "x", size: 3 };
        let mut upload = Upload::new(NOW, UploadLimits::default());
        upload.handle_bytes(NOW, &bytes);
        let mut to_client = Vec::new();
        let sizes = [7];
        let mut splits = Splits(sizes.iter().cycle());
        while serve(&mut upload, &shelf, b"abc", &mut splits, &mut to_client) {}
        let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let source = Source { addr, index: 1, name: "x".to_owned(), size: Some(3) , push: None };
        let limits = DownloadLimits::default();
        let mut download = Download::new(NOW, source, Kept::default(), false, limits).unwrap();
        download.handle_connected(NOW, true);
        download.handle_bytes(NOW, &bytes);
        prop_assert!(download.backlog_bytes() <= 3);
    }
}
