//! Rate and CPU of uploads, and latency of descriptors during them; reference: processes that only
//! send.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::load::{descriptor, link};
use support::{Spread, cpu_of, heading, repetitions, row};

const FILE_BYTES: u64 = 4 << 30;
const DURATION: Duration = Duration::from_secs(2);
/// Time between two timed descriptors.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads from all for [`DURATION`], or to their ends. Meanwhile single descriptors are timed from the
/// first link of `pair` to the second. One thread does everything, so that the sender has the other
/// processor for itself.
fn read_all(mut readers: Vec<TcpStream>, pair: Option<[TcpStream; 2]>) -> ReadResult {
    for stream in readers.iter().chain(pair.iter().flatten()) {
        stream.set_nonblocking(true).unwrap();
    }
    let (mut buffer, mut bytes, mut latencies) = (vec![0; 64 * 1024], 0u64, Vec::new());
    let begun = Instant::now();
    let mut timed = pair.map(Timed::new);
    let uploading = !readers.is_empty();
    while begun.elapsed() < DURATION && !(uploading && readers.is_empty()) {
        readers.retain_mut(|reader| {
            let read = reader.read(&mut buffer);
            bytes += *read.as_ref().unwrap_or(&0) as u64;
            // After each read, as the time of this thread counts as latency.
            latencies.extend(timed.as_mut().and_then(Timed::go_on));
            // At the end of the file.
            !matches!(read, Ok(0))
        });
        if !uploading {
            latencies.extend(timed.as_mut().and_then(Timed::go_on));
        }
    }
    latencies.sort_by(f64::total_cmp);
    ReadResult {
        rate: bytes as f64 / begun.elapsed().as_secs_f64(),
        gigabytes: bytes as f64 / 1e9,
        latencies,
    }
}

/// The result of [`read_all`].
struct ReadResult {
    /// Bytes per second of all uploads.
    rate: f64,
    gigabytes: f64,
    /// Latencies of descriptors in microseconds, sorted.
    latencies: Vec<f64>,
}

/// Descriptors timed from one link to another, one at a time.
struct Timed {
    links: [TcpStream; 2],
    one: Vec<u8>,
    sent: Option<Instant>,
    next: Instant,
}

impl Timed {
    fn new(links: [TcpStream; 2]) -> Timed {
        let one = descriptor(0x80, 5, 0, b"\x01\x00zebra\0");
        Timed { links, one, sent: None, next: Instant::now() }
    }

    /// Sends the next when it is due; the latency of the last one when it arrives.
    fn go_on(&mut self) -> Option<f64> {
        let [from, to] = &mut self.links;
        let Some(sent) = self.sent else {
            if Instant::now() >= self.next {
                let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
                self.one[..8].copy_from_slice(&id.to_le_bytes());
                self.sent = Some(Instant::now());
                from.write_all(&self.one).unwrap();
            }
            return None;
        };
        to.read_exact(&mut vec![0; self.one.len()]).ok()?;
        let took = sent.elapsed().as_secs_f64() * 1e6;
        (self.sent, self.next) = (None, Instant::now() + PAUSE);
        Some(took)
    }
}

/// The reference process: sends the file on each connection and does nothing else.
fn send_only(file: &Path, in_kernel: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming().map_while(Result::ok) {
        let file = File::open(file).unwrap();
        thread::spawn(
            move || if in_kernel { sendfile(&file, &stream) } else { copy(&file, stream) },
        );
    }
}

fn sendfile(file: &File, stream: &TcpStream) {
    let mut at = 0;
    while let Ok(1..) = rustix::fs::sendfile(stream, file, Some(&mut at), 1 << 20) {
        at %= FILE_BYTES;
    }
}

fn copy(file: &File, mut stream: TcpStream) {
    let (mut buffer, mut at) = (vec![0; 256 * 1024], 0);
    while let Ok(count @ 1..) = file.read_at(&mut buffer, at) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
        at = (at + count as u64) % FILE_BYTES;
    }
}

fn plain_sender(file: &Path, how: &str, readers: usize) -> (f64, f64) {
    use std::io::BufRead;
    let mut command = support::oneself(&[how, file.to_str().unwrap()]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr: SocketAddr = line.trim().trim_start_matches("listening on ").parse().unwrap();
    let readers = (0..readers).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let ReadResult { rate, gigabytes, .. } = read_all(readers, None);
    let (user, system) = cpu_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    (rate, (user + system).as_secs_f64() / gigabytes)
}

/// The id of the last timed descriptor. A servent forwards no id twice.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--as-sendfile" || arg == "--as-copy") {
        return send_only(Path::new(&args[at + 1]), args[at] == "--as-sendfile");
    }
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    std::fs::create_dir_all(&share).unwrap();
    let file = share.join("big.bin");
    // A sparse file: the path from the page cache is measured, not the disk.
    File::create(&file).unwrap().set_len(FILE_BYTES).unwrap();
    println!("congestion control {}", support::congestion());
    for uploads in [1, 4] {
        heading(&format!("{uploads} uploads"));
        let (mut most, mut copied, mut served) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu, mut copy_cpu) = (Vec::new(), Vec::new());
        let (mut quiet, mut beside) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        for _ in 0..repetitions(3) {
            most.push(plain_sender(&file, "--as-sendfile", uploads).0);
            let (rate, cost) = plain_sender(&file, "--as-copy", uploads);
            copied.push(rate);
            copy_cpu.push(cost);
            let mut servent =
                support::servent(folder.path(), &["--share", share.to_str().unwrap()]);
            let addr = SocketAddr::V4(servent.addr());
            let pair = || Some([link(addr), link(addr)]);
            note(&mut quiet, &read_all(Vec::new(), pair()).latencies);
            let readers = (0..uploads).map(|_| {
                let mut reader = TcpStream::connect(addr).unwrap();
                reader.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
                reader
            });
            let readers = readers.collect();
            let before = cpu_of(servent.id());
            let ReadResult { rate, gigabytes, latencies } = read_all(readers, pair());
            note(&mut beside, &latencies);
            let after = cpu_of(servent.id());
            let spent = (after.0 + after.1).saturating_sub(before.0 + before.1).as_secs_f64();
            served.push(rate);
            cpu.push(spent / gigabytes);
            servent.stop().expect("it stops when asked");
        }
        let rate = |figures: &[f64]| Spread::new(figures.to_vec()).show("B/s");
        row("reference: sendfile only", &rate(&most));
        row("reference: read and write only", &rate(&copied));
        row("servent", &rate(&served));
        row("  of sendfile only", &Spread::ratio(&served, &most).show_percent());
        row("  CPU, of read and write only", &Spread::ratio(&cpu, &copy_cpu).show_percent());
        for (what, at) in [("p50", 0), ("p99", 1), ("p99.9", 2)] {
            let [quiet, beside] = [&quiet, &beside].map(|all| Spread::new(all[at].clone()));
            let figures = format!("{}, without uploads {}", beside.show("us"), quiet.show("us"));
            row(&format!("  latency of a descriptor, {what}"), &figures);
        }
    }
}

fn note(percentiles: &mut [Vec<f64>; 3], sorted: &[f64]) {
    for (figures, share) in percentiles.iter_mut().zip([0.5, 0.99, 0.999]) {
        figures.push(sorted[((sorted.len() - 1) as f64 * share) as usize]);
    }
}
