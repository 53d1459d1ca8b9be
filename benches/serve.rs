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

const FILE_BYTES: u64 = 2 << 30;
const TIME: Duration = Duration::from_secs(2);
/// Between two descriptors whose way is timed.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads from each for [`TIME`]; bytes a second, all together.
fn drink(readers: Vec<TcpStream>) -> f64 {
    let begun = Instant::now();
    let drinkers = readers.into_iter().map(|mut reader| {
        thread::spawn(move || {
            let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0u64);
            while begun.elapsed() < TIME {
                match reader.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => bytes += count as u64,
                }
            }
            bytes
        })
    });
    let drinkers: Vec<_> = drinkers.collect();
    let bytes: u64 = drinkers.into_iter().map(|it| it.join().unwrap()).sum();
    bytes as f64 / begun.elapsed().as_secs_f64()
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
    let rate = drink((0..readers).map(|_| TcpStream::connect(addr).unwrap()).collect());
    let (user, system) = cpu_of(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    (rate, (user + system).as_secs_f64() / (rate * TIME.as_secs_f64() / 1e9))
}

/// The last id of a descriptor whose way was timed: a servent passes on no id twice.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// How long single descriptors take through the servent, in microseconds, for [`TIME`].
fn waits(addr: SocketAddr) -> Vec<f64> {
    let (mut from, mut to) = (link(addr), link(addr));
    let mut bytes = descriptor(0x80, 5, 0, b"\x01\x00zebra\0");
    let (begun, mut waits) = (Instant::now(), Vec::new());
    while begun.elapsed() < TIME {
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        let sent = Instant::now();
        from.write_all(&bytes).unwrap();
        let mut came = vec![0; bytes.len()];
        to.read_exact(&mut came).unwrap();
        waits.push(sent.elapsed().as_secs_f64() * 1e6);
        thread::sleep(PAUSE);
    }
    waits.sort_by(f64::total_cmp);
    waits
}

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
            note(&mut quiet, &waits(addr));
            let readers = (0..uploads).map(|_| {
                let mut reader = TcpStream::connect(addr).unwrap();
                reader.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
                reader
            });
            let readers = readers.collect();
            let before = cpu_of(servent.id());
            let waited = thread::spawn(move || waits(addr));
            let rate = drink(readers);
            note(&mut beside, &waited.join().unwrap());
            let after = cpu_of(servent.id());
            let spent = (after.0 + after.1).saturating_sub(before.0 + before.1).as_secs_f64();
            served.push(rate);
            cpu.push(spent / (rate * TIME.as_secs_f64() / 1e9));
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
