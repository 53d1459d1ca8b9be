//! What one-shot commands learn of the addresses they dial, kept between runs: the dialect, and when the
//! last two handshakes were begun, since a third within a minute may get us banned.
//!
//! One line an address: `ADDR:PORT`, `0.4`, `0.6` or `-`, and up to two Unix times in seconds, the latest
//! first. Commands run side by side, so the file is read and replaced under a lock.

use crate::wire::Dialect;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Addresses kept; those whose last handshake is longest ago go first.
const MAX_ADDRESSES: usize = 1_000;
/// Longest file that is read, in bytes; ours are far shorter.
const MAX_BYTES: u64 = 256 * 1024;

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDialect {
    /// The address.
    pub addr: SocketAddrV4,
    /// What it speaks, as far as that is known.
    pub speaks: Option<Dialect>,
    /// When the last handshakes with it were begun, in seconds since 1970, the latest first.
    pub begun: Vec<u64>,
}

impl KnownDialect {
    /// What a servent knows of an address now: it counts from now backwards.
    pub fn of(addr: SocketAddrV4, speaks: Option<Dialect>, begun: &[Duration]) -> KnownDialect {
        let now = unix_now();
        let begun = begun.iter().map(|ago| now.saturating_sub(ago.as_secs())).collect();
        KnownDialect { addr, speaks, begun }
    }

    /// How long ago the last handshakes were begun, the latest first. One that lies ahead, since the clock
    /// was set back, was begun just now.
    pub fn ago(&self) -> Vec<Duration> {
        let now = unix_now();
        self.begun.iter().map(|&at| Duration::from_secs(now.saturating_sub(at))).collect()
    }

    fn parse(line: &str) -> Option<KnownDialect> {
        let mut words = line.split_whitespace();
        let addr = words.next()?.parse().ok()?;
        let speaks = Dialect::named(words.next()?);
        Some(KnownDialect { addr, speaks, begun: words.flat_map(str::parse).take(2).collect() })
    }

    fn line(&self) -> String {
        let mut line = format!("{} {}", self.addr, self.speaks.map_or("-", Dialect::name));
        self.begun.iter().take(2).for_each(|at| line.push_str(&format!(" {at}")));
        line
    }
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// All that the file holds; nothing if it cannot be read. Lines that are none are passed over.
pub fn read_dialects(path: &Path) -> Vec<KnownDialect> {
    let readable = fs::metadata(path).is_ok_and(|meta| meta.len() <= MAX_BYTES);
    let text = readable.then(|| fs::read(path).ok()).flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(KnownDialect::parse).collect()
}

/// Replaces what the file says of these addresses.
///
/// # Errors
/// When the disk refuses; the file is then as it was.
pub fn update_dialects(path: &Path, news: &[KnownDialect]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock_path)?;
    lock.lock()?;
    let mut all = read_dialects(path);
    all.retain(|known| news.iter().all(|new| new.addr != known.addr));
    all.extend_from_slice(news);
    all.sort_by_key(|known| std::cmp::Reverse(known.begun.first().copied()));
    all.truncate(MAX_ADDRESSES);
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    for known in &all {
        writeln!(file, "{}", known.line())?;
    }
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_read_again_and_garbage_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servent/dialects");
        let known = |port: u16, speaks, begun: &[u64]| KnownDialect {
            addr: SocketAddrV4::new([127, 0, 0, 1].into(), port),
            speaks,
            begun: begun.to_vec(),
        };
        let old = known(1, Some(Dialect::V0_4), &[20]);
        let other = known(2, None, &[30, 10]);
        update_dialects(&path, &[old.clone(), other.clone()]).unwrap();
        assert_eq!(read_dialects(&path), [other.clone(), old]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{1b}garbage\n{text}127.0.0.1:3\n127.0.0.1:4 0.9 x\n")).unwrap();
        let new = known(1, Some(Dialect::V0_6), &[40, 20]);
        update_dialects(&path, std::slice::from_ref(&new)).unwrap();
        assert_eq!(read_dialects(&path), [new, other, known(4, None, &[])]);
        let many: Vec<_> = (1..=2_000).map(|port| known(port, None, &[u64::from(port)])).collect();
        update_dialects(&path, &many).unwrap();
        let kept = read_dialects(&path);
        assert_eq!((kept.len(), kept[0].addr.port()), (MAX_ADDRESSES, 2_000));
    }
}
