//! What can be asserted of a network from outside: that it stands, answers, and keeps the rules.

use super::finding::Finding;
use super::judge::rules;
use super::view::View;
use crate::rng::Rng;
use crate::wire::{Deframer, Guid, Header, Kind, handshake};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a servent may take to answer a Ping.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the check is repeated because processes started or ended meanwhile.
const MAX_LOOKS: usize = 5;

/// Looks at everything; again, if a servent ended or started meanwhile and something seemed wrong.
///
/// # Errors
/// When the network has died, or its records cannot be read.
pub fn check(folder: &super::RunFolder) -> io::Result<Vec<Finding>> {
    let mut looks = 0;
    loop {
        let view = View::open(folder)?;
        let records = view.records()?;
        let mut findings = vec![processes(&view), links(&view), answers(&view)];
        findings.extend(rules(&view, &records));
        looks += 1;
        let all_hold = findings.iter().all(Finding::holds);
        if all_hold || looks == MAX_LOOKS || !view.has_changed()? {
            return Ok(findings);
        }
    }
}

fn processes(view: &View) -> Finding {
    let mut finding = Finding::new("every servent that was not ended on purpose runs");
    for (number, node) in view.network.nodes.iter().enumerate() {
        let fine = view.is_running(number) || view.is_wanted_down(number);
        finding.look(fine, || format!("\"{}\" does not", node.name));
    }
    finding
}

fn links(view: &View) -> Finding {
    let mut finding = Finding::new(
        "every link between servents that run stands at both ends and speaks what it is dialled with",
    );
    for (number, link) in view.network.links.iter().enumerate() {
        if !view.is_running(link.from) || !view.is_running(link.to) || view.is_dark(number) {
            continue;
        }
        let (from, to) = (&view.network.nodes[link.from], &view.network.nodes[link.to]);
        let misspoken = view.misspeaks(number).filter(|_| from.is_ours());
        finding.look(view.stands(number) && misspoken.is_none(), || match misspoken {
            Some(spoken) => format!(
                "\"{}\" to \"{}\" speaks {spoken} instead of {}",
                from.name, to.name, from.dialect
            ),
            None => format!("\"{}\" to \"{}\" does not", from.name, to.name),
        });
    }
    finding
}

fn answers(view: &View) -> Finding {
    let mut finding = Finding::new("every servent answers a Ping with its own address");
    let running = view.network.nodes.iter().enumerate().filter(|(node, _)| view.is_running(*node));
    // Leaves accept no links.
    for (_, node) in running.filter(|(_, node)| !node.leaf) {
        match ping(node.addr) {
            Ok(addr) => finding.look(addr == node.addr, || {
                format!("\"{}\" on {} says it listens on {addr}", node.name, node.addr)
            }),
            Err(error) => finding.look(false, || format!("\"{}\": {error}", node.name)),
        }
    }
    finding
}

/// Links with a servent, asks for itself only, and leaves.
fn ping(addr: SocketAddrV4) -> io::Result<SocketAddrV4> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(addr), ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(handshake::CONNECT)?;
    let (mut deframer, mut buffer) = (Deframer::default(), [0; 4_096]);
    let mut heard = Vec::new();
    let answered = loop {
        if let Some(len) = handshake::read_answer(&heard).map_err(io::Error::other)? {
            break len;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("it closed the connection instead of answering")),
            count => heard.extend_from_slice(&buffer[..count]),
        }
    };
    // What came with the answer is its own Pings.
    let mut descriptors = deframer.feed(&heard[answered..]);
    while descriptors.next().map_err(io::Error::other)?.is_some() {}
    let guid = Guid::random(&mut Rng::new(Uuid::new_v4().as_u64_pair().0));
    let header = Header { guid, kind: Kind::Ping, ttl: 1, hops: 0, payload_len: 0 };
    stream.write_all(&header.encode())?;
    while Instant::now() < deadline {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::other("it closed the link instead of answering a Ping"));
        }
        let mut descriptors = deframer.feed(&buffer[..count]);
        while let Some(raw) = descriptors.next().map_err(io::Error::other)? {
            if raw.header().kind == Kind::Pong && raw.header().guid == guid {
                let pong = crate::wire::Pong::decode(raw.payload()).map_err(io::Error::other)?;
                if pong.addr.ip() == addr.ip() {
                    return Ok(pong.addr);
                }
            }
        }
    }
    Err(io::Error::other(format!("no Pong within {} s", ANSWER_TIMEOUT.as_secs())))
}
