//! Two servents joined by hand, without a network: `cargo run --example two_cores`.
//!
//! A [`Servent`] has no socket, file or clock. It is told what happened (`handle_…`) and asked what
//! to do (`poll_…`). Here one function carries the bytes from each to the other, and time stands
//! still.

use servent::config::Config;
use servent::library::{Library, LibraryBuilder};
use servent::servent::{ConnId, Event, Output, Servent, TxChunk};
use servent::time::Instant;
use servent::wire::ServentId;
use std::error::Error;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// An index of one file. Its words are sorted in bounded steps, so that an event loop never waits
/// for a large library.
fn library(name: &str, bytes: u64) -> Result<Library, Box<dyn Error>> {
    let mut builder = LibraryBuilder::new();
    builder.add(1, name, bytes)?;
    loop {
        if let Some(library) = builder.step(1_000) {
            return Ok(library);
        }
    }
}

/// Writes all that `from` has to send on its only link into the link `conn` of `to`.
fn carry(now: Instant, from: &mut Servent, to: &mut Servent, conn: ConnId) {
    while let Some((id, chunk)) = from.poll_transmit(now) {
        let TxChunk::Bytes(bytes) = chunk else { unreachable!("no file is uploaded here") };
        to.handle_bytes(now, conn, bytes);
        let written = bytes.len();
        from.sent(now, id, written);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = Instant::ZERO;
    let config = Arc::new(Config::default());
    let start = |library, number: u8| {
        // Equal seeds and equal calls give equal behaviour.
        let (id, seed) = (ServentId([number; 16]), number.into());
        Servent::new(Arc::clone(&config), Arc::new(library), id, seed, now)
    };
    let mut seeker = start(Library::empty(), 1);
    let mut sharer = start(library("free bsd notes.txt", 1_234)?, 2);
    let seeker_addr: SocketAddrV4 = "127.0.0.1:50000".parse()?;
    let sharer_addr: SocketAddrV4 = "127.0.0.2:6346".parse()?;

    // The seeker wants a link. Its timer starts the dial, which comes out as an output.
    seeker.add_static_peer(now, sharer_addr);
    seeker.handle_timeout(now);
    let to_sharer = loop {
        match seeker.poll_output() {
            Some(Output::Connect { conn, .. }) => break conn,
            Some(_) => {}
            None => return Err("the seeker does not dial".into()),
        }
    };
    // The connection is made: both ends learn of it.
    seeker.handle_connected(now, to_sharer, seeker_addr);
    let to_seeker = sharer.handle_accepted(now, seeker_addr, sharer_addr).ok_or("refused")?;

    // The handshake goes there and back, then the Query goes there and its hit comes back.
    let search = seeker.search(now, "notes", None)?;
    for _ in 0..3 {
        carry(now, &mut seeker, &mut sharer, to_seeker);
        carry(now, &mut sharer, &mut seeker, to_sharer);
    }
    while let Some(output) = seeker.poll_output() {
        if let Output::Event(Event::Hit { search: of, hit }) = output
            && of == search
        {
            println!("{} ({} bytes) at {}", hit.name, hit.size, hit.addr);
            return Ok(());
        }
    }
    Err("nothing was found".into())
}
