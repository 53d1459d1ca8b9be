//! Uploads beside senders that do nothing else, and what descriptors have to wait meanwhile.
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
const TIME: Duration = Duration::from_secs(2);
/// Between two descriptors whose way is timed.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads from each for [`TIME`], or until there is no more. Meanwhile single descriptors go from the
/// first of two links to the second. One thread does everything: the sender has the other processor
/// for itself.
fn drink(mut readers: Vec<TcpStream>, pair: Option<[TcpStream; 2]>) -> Drunk {
    for stream in readers.iter().chain(pair.iter().flatten()) {
        stream.set_nonblocking(true).unwrap();
    }
    let (mut buffer, mut bytes, mut waits) = (vec![0; 64 * 1024], 0u64, Vec::new());
    let begun = Instant::now();
    let mut timed = pair.map(Timed::new);
    let drinks = !readers.is_empty();
    while begun.elapsed() < TIME && !(drinks && readers.is_empty()) {
        readers.retain_mut(|reader| {
            let read = reader.read(&mut buffer);
            bytes += *read.as_ref().unwrap_or(&0) as u64;
            // After each: what this thread does in between counts as waiting.
            waits.extend(timed.as_mut().and_then(Timed::go_on));
            // One that has the whole file is done.
            !matches!(read, Ok(0))
        });
        if !drinks {
            waits.extend(timed.as_mut().and_then(Timed::go_on));
        }
    }
    waits.sort_by(f64::total_cmp);
    Drunk {
        rate: bytes as f64 / begun.elapsed().as_secs_f64(),
        gigabytes: bytes as f64 / 1e9,
        waits,
    }
}

/// What came of [`drink`].
struct Drunk {
    /// Bytes a second, all together.
    rate: f64,
    gigabytes: f64,
    /// Microseconds of a descriptor's way, sorted.
    waits: Vec<f64>,
}

/// Descriptors that go from one link to another, one at a time.
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

    /// Sends the next if it is time; how long the last one took, if it is here.
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
        let mut came = vec![0; self.one.len()];
        to.read_exact(&mut came).ok()?;
        let took = sent.elapsed().as_secs_f64() * 1e6;
        (self.sent, self.next) = (None, Instant::now() + PAUSE);
        Some(took)
    }
}

/// A process that sends the file to each who connects, in the plainest way.
fn send_plainly(file: &Path, in_kernel: bool) {
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
    let Drunk { rate, gigabytes, .. } = drink(readers, None);
    let (user, system) = cpu_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    (rate, (user + system).as_secs_f64() / gigabytes)
}

/// The last id of a descriptor whose way was timed: a servent passes on no id twice.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--as-sendfile" || arg == "--as-copy") {
        return send_plainly(Path::new(&args[at + 1]), args[at] == "--as-sendfile");
    }
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    std::fs::create_dir_all(&share).unwrap();
    let file = share.join("big.bin");
    // Without blocks: what is measured is the way from the page cache.
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
            note(&mut quiet, &drink(Vec::new(), pair()).waits);
            let readers = (0..uploads).map(|_| {
                let mut reader = TcpStream::connect(addr).unwrap();
                reader.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
                reader
            });
            let readers = readers.collect();
            let before = cpu_of(servent.id());
            let Drunk { rate, gigabytes, waits } = drink(readers, pair());
            note(&mut beside, &waits);
            let after = cpu_of(servent.id());
            let spent = (after.0 + after.1).saturating_sub(before.0 + before.1).as_secs_f64();
            served.push(rate);
            cpu.push(spent / gigabytes);
            servent.stop().expect("it stops when asked");
        }
        let rate = |figures: &[f64]| Spread::new(figures.to_vec()).show("B/s");
        row("reference: the most, sendfile only", &rate(&most));
        row("reference: read and write only", &rate(&copied));
        row("servent", &rate(&served));
        row("  of the most", &Spread::ratio(&served, &most).show_percent());
        row("  CPU against read and write", &Spread::ratio(&cpu, &copy_cpu).show_percent());
        for (what, at) in [("p50", 0), ("p99", 1), ("p99.9", 2)] {
            let [quiet, beside] = [&quiet, &beside].map(|all| Spread::new(all[at].clone()));
            let figures = format!("{}, without uploads {}", beside.show("us"), quiet.show("us"));
            row(&format!("  a descriptor's way, {what}"), &figures);
        }
    }
}

fn note(percentiles: &mut [Vec<f64>; 3], sorted: &[f64]) {
    for (figures, share) in percentiles.iter_mut().zip([0.5, 0.99, 0.999]) {
        figures.push(sorted[((sorted.len() - 1) as f64 * share) as usize]);
    }
}
