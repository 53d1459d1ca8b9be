//! `servent ping`: shows which servents are reachable.

use super::args::PingArgs;
use super::exit::Failure;
use super::oneshot::{GuestStep, OneShot};
use super::output;
use crate::servent::Event;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Instant;

/// A Pong as `--json` prints it.
#[derive(Debug, Serialize)]
struct PongLine {
    host: String,
    port: u16,
    files: u32,
    kib: u32,
    hops: u8,
}

pub(super) fn run(args: PingArgs) -> Result<(), Failure> {
    let mut shot = OneShot::join(std::slice::from_ref(&args.host))?;
    shot.driver.command(|core, now| core.ping(now, Some(args.ttl)));
    let mut seen = BTreeSet::new();
    let mut deadline = None;
    loop {
        match shot.next(deadline)? {
            GuestStep::Linked if deadline.is_none() => deadline = Some(Instant::now() + args.wait),
            GuestStep::Event(Event::Pong { addr, files, kib, hops, .. }) => {
                if seen.insert(addr) {
                    print(&args, seen.len() == 1, addr, [files, kib, hops.into()])?;
                }
                if args.ttl == 1 {
                    break;
                }
            }
            GuestStep::Alone(failure) if seen.is_empty() => return Err(failure),
            GuestStep::Stop if seen.is_empty() => return Err(Failure::interrupted("interrupted")),
            GuestStep::Deadline | GuestStep::Alone(_) | GuestStep::Stop => break,
            _ => {}
        }
    }
    if seen.is_empty() {
        let text = format!("{} took the link but answered no Ping in time", args.host);
        return Err(Failure::no_answer(text));
    }
    Ok(())
}

fn print(
    args: &PingArgs,
    first: bool,
    addr: SocketAddrV4,
    [files, kib, hops]: [u32; 3],
) -> Result<(), Failure> {
    if args.json {
        let hops = u8::try_from(hops).unwrap_or(u8::MAX);
        let host = addr.ip().to_string();
        return output::json(&PongLine { host, port: addr.port(), files, kib, hops });
    }
    if first {
        output::line(&format!("{:<21} {:>10} {:>12} {:>4}", "SERVENT", "FILES", "KIB", "HOPS"))?;
    }
    output::line(&format!("{:<21} {files:>10} {kib:>12} {hops:>4}", addr.to_string()))
}
