//! Vendor messages between 0.6 neighbours: what each understands, hops flow, connect-backs and push
//! proxies.

use crate::support::descriptor::{guid, query};
use crate::support::modern::{LEAF, ULTRAPEER};
use crate::support::{Bench, Descriptor};
use data_encoding::BASE32_NOPAD;
use servent::config::Role;
use servent::net::Peer;
use servent::wire::ggep::Ggep;
use servent::wire::vendor::{EXPERIMENTAL, VendorMeaning, VendorMessage};
use servent::wire::{Dialect, Guid, Kind, Push, QueryHit};
use std::net::SocketAddrV4;

const VENDOR: &str = "Vendor-Message: 0.1\r\n";

fn vendor(id: Guid, meaning: &VendorMeaning) -> Descriptor {
    let mut payload = Vec::new();
    meaning.encode(&mut payload);
    Descriptor::new(id, EXPERIMENTAL, payload).ttl(1)
}

/// The vendor messages among what a peer has received.
fn said(sut: &mut Bench, peer: Peer) -> Vec<(Guid, VendorMeaning)> {
    let received = sut.receive(peer).into_iter().filter(|it| it.kind == EXPERIMENTAL);
    let meaning = |it: Descriptor| {
        let message = VendorMessage::decode(it.kind, &it.payload).unwrap();
        (it.guid, message.meaning().expect("a known message"))
    };
    received.map(meaning).collect()
}

#[test]
fn who_reads_vendor_messages_is_told_which_we_read_and_nobody_else() {
    for (headers, expected) in [(VENDOR, 1), ("", 0)] {
        let mut sut = Bench::new();
        let peer = sut.modern(&format!("{ULTRAPEER}{headers}"));
        let said = said(&mut sut, peer);
        assert_eq!(said.len(), expected, "{said:?}");
        if let Some((_, VendorMeaning::MessagesSupported(ids))) = said.first() {
            assert_eq!(ids.len(), 4);
        }
    }
}

/// P-106
#[test]
fn unknown_and_broken_vendor_messages_do_no_harm() {
    let mut sut = Bench::new();
    let peer = sut.modern(&format!("{ULTRAPEER}{VENDOR}"));
    said(&mut sut, peer);
    let bytes: [&[u8]; 3] = [b"TEST\x01\x00\x01\x00data", b"abc", b"BEAR\x04\x00\x01\x00"];
    for (at, payload) in bytes.into_iter().enumerate() {
        let number = u32::try_from(at).unwrap();
        sut.send(peer, &Descriptor::new(guid(number), EXPERIMENTAL, payload.to_vec()).ttl(1));
    }
    sut.assert_alive(peer);
}

/// P-107
#[test]
fn a_neighbour_gets_no_queries_from_further_away_than_it_wants() {
    let mut sut = Bench::new();
    let up = sut.modern(&format!("{ULTRAPEER}{VENDOR}"));
    let asker = sut.link();
    said(&mut sut, up);
    for (flow, hops, gets) in [(2, 2, false), (2, 0, true), (255, 2, true)] {
        sut.send(up, &vendor(guid(99), &VendorMeaning::HopsFlow(flow)));
        let id = Guid(sut.net.fresh_id());
        sut.send(asker, &query(id, "zebra").hops(hops).ttl(4));
        let got = sut.receive(up).iter().filter(|it| it.kind == Kind::Query).count();
        assert_eq!(got, usize::from(gets), "flow {flow}, hops {hops}");
    }
}

#[test]
fn a_neighbour_that_asks_is_connected_to_at_its_own_address_and_not_too_often() {
    let mut sut = Bench::new();
    let peer = sut.modern(&format!("{ULTRAPEER}{VENDOR}"));
    let ip = *sut.core().neighbours().next().unwrap().addr.ip();
    let addr = SocketAddrV4::new(ip, 7_777);
    sut.net.listen(addr);
    let mut connected = 0;
    for number in 0..50 {
        sut.send(peer, &vendor(guid(number), &VendorMeaning::TcpConnectBack(7_777)));
        connected += usize::from(sut.net.accept(addr).is_some());
    }
    assert_eq!(connected, sut.core().config().limits.pushes_per_address);
    assert!(!sut.is_closed(peer));
}

/// An ultrapeer with a leaf that has asked it to be its push proxy, and the leaf's servent id.
fn proxy() -> (Bench, Peer, [u8; 16]) {
    let mut sut = Bench::new();
    let leaf = sut.modern(&format!("{LEAF}{VENDOR}"));
    said(&mut sut, leaf);
    let id = [0x5a; 16];
    sut.send(leaf, &vendor(Guid(id), &VendorMeaning::PushProxyRequest));
    let acks = said(&mut sut, leaf);
    assert_eq!(acks, [(Guid(id), VendorMeaning::PushProxyAck(sut.addr()))]);
    (sut, leaf, id)
}

#[test]
fn a_push_that_is_asked_for_by_http_reaches_the_leaf() {
    let (mut sut, leaf, id) = proxy();
    let text = BASE32_NOPAD.encode(&id);
    let ask = |sut: &mut Bench, servent: &str, node: &str| {
        let peer = sut.net.dial_from([127, 6, 0, 1].into(), 0);
        let request = format!(
            "GET /gnutella/push-proxy?ServerId={servent}&file=3 HTTP/1.1\r\nHost: x\r\n{node}\r\n"
        );
        sut.send_bytes(peer, request.as_bytes());
        String::from_utf8(sut.read(peer)).unwrap()
    };
    let own = "X-Node: 127.6.0.1:1234\r\n";
    let other = BASE32_NOPAD.encode(&[1; 16]);
    for (servent, node, status) in [
        (&text, own, "202"),
        (&text, "X-Node: 127.6.0.2:1234\r\n", "410"),
        (&text, "", "400"),
        (&other, own, "410"),
    ] {
        let answer = ask(&mut sut, servent, node);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{node}: {answer}");
    }
    let push = sut.receive_one(leaf);
    let push = Push::decode(&push.payload).unwrap();
    let target: SocketAddrV4 = "127.6.0.1:1234".parse().unwrap();
    assert_eq!((push.servent.0, push.index, push.addr), (id, 3, target));
    sut.net.drop_peer(leaf);
    sut.wait_secs(1);
    assert!(ask(&mut sut, &text, own).starts_with("HTTP/1.1 410 "), "the leaf is gone");
}

#[test]
fn a_leaf_asks_its_ultrapeers_and_names_those_that_agree_in_its_hits() {
    let mut sut = Bench::with(|config| config.role = Role::Leaf);
    let (up, _) = sut.dialled_modern("127.8.0.1:7000", &format!("{ULTRAPEER}{VENDOR}"));
    said(&mut sut, up);
    let ids = vec![VendorMeaning::PushProxyRequest.id()];
    sut.send(up, &vendor(guid(1), &VendorMeaning::MessagesSupported(ids)));
    let identity = sut.core().identity();
    assert_eq!(said(&mut sut, up), [(Guid(identity.0), VendorMeaning::PushProxyRequest)]);
    let private = |sut: &mut Bench, number| {
        sut.send(up, &query(guid(number), "hello").ttl(1));
        let hit = sut.receive(up).pop().unwrap();
        QueryHit::decode(&hit.payload).unwrap().trailer().unwrap().private.to_vec()
    };
    assert_eq!(private(&mut sut, 2), b"", "nobody has agreed yet");
    for (ack, expected) in
        [("127.9.9.9:1", &b""[..]), ("127.8.0.1:7000", b"\xc3\x84PUSH\x46\x7f\x08\x00\x01\x58\x1b")]
    {
        sut.send(up, &vendor(guid(3), &VendorMeaning::PushProxyAck(ack.parse().unwrap())));
        let number = u32::try_from(ack.len()).unwrap();
        assert_eq!(private(&mut sut, number), expected, "{ack}");
    }
}

/// P-27
#[test]
fn pongs_towards_0_6_say_what_we_are_and_whom_we_know_and_those_towards_0_4_nothing_new() {
    let mut sut = Bench::new();
    let other: SocketAddrV4 = "127.5.0.9:1001".parse().unwrap();
    let up = sut.net.dial_from(*other.ip(), 0);
    let hello = format!("GNUTELLA CONNECT/0.6\r\n{ULTRAPEER}Listen-IP: {other}\r\n\r\n");
    sut.send_bytes(up, hello.as_bytes());
    sut.send_bytes(up, b"GNUTELLA/0.6 200 OK\r\n\r\n");
    let (asker, old) = (sut.modern(LEAF), sut.link());
    let scp = b"\xc3\x83SCP\x41\x03";
    let ask = |sut: &mut Bench, peer, payload: &[u8]| {
        let id = Guid(sut.net.fresh_id());
        sut.send(peer, &Descriptor::new(id, Kind::Ping, payload.to_vec()).ttl(1));
        sut.wait_secs(1);
        let mut pongs = sut.receive(peer).into_iter().filter(|it| it.kind == Kind::Pong);
        pongs.next_back().unwrap().payload[14..].to_vec()
    };
    assert_eq!(ask(&mut sut, old, b""), b"");
    assert_eq!(ask(&mut sut, old, scp), b"", "0.4 gets 14 bytes");
    let extension = ask(&mut sut, asker, b"");
    let ggep = Ggep::decode_all(&extension).unwrap();
    let data = |id: &[u8]| ggep.get(id).map(|it| it.data().unwrap().into_owned());
    assert_eq!(data(b"UP").unwrap(), [1, 99, 30]);
    assert_eq!(data(b"VC").unwrap(), *b"SRVT\x01");
    assert!(data(b"DU").is_some() && data(b"IPP").is_none());
    let extension = ask(&mut sut, asker, scp);
    let ggep = Ggep::decode_all(&extension).unwrap();
    assert_eq!(ggep.addresses(b"IPP"), [other]);
}

#[test]
fn hosts_in_a_pong_of_0_6_are_learnt_as_such() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let up = sut.modern(ULTRAPEER);
    let asked = sut.receive(up).into_iter().find(|it| it.kind == Kind::Ping).unwrap();
    let mut payload = vec![0; 14];
    payload[..6].copy_from_slice(&[1, 0, 127, 5, 0, 1]);
    payload.extend(b"\xc3\x83IPP\x46\x7f\x05\x00\x02\xca\x18");
    let before = sut.core().stats().work;
    sut.send(up, &Descriptor::new(asked.guid, Kind::Pong, payload).ttl(1));
    let work = sut.core().stats().work - before;
    assert!(work >= 12 + 2 * 40, "{work} units for a descriptor and two addresses");
    let known: Vec<_> = sut.core().hosts().iter().map(|host| (host.addr, host.speaks)).collect();
    let named = "127.5.0.2:6346".parse().unwrap();
    assert!(known.contains(&(named, Some(Dialect::V0_6))), "{known:?}");
}
