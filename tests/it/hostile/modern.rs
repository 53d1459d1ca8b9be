//! Rows of the attack table for peers that speak 0.6.

use super::table::{Attack, Fate, victim};
use crate::support::Descriptor;
use crate::support::descriptor::{guid, query};
use crate::support::modern::{FREE, HELLO, LEAF, ULTRAPEER, patch, reset, routes};
use servent::wire::Kind;
use servent::wire::deflate::deflate;

const CONNECT_06: &[u8] = b"GNUTELLA CONNECT/0.6\r\n";

/// A table of so many slots begins.
fn reset_of(slots: u32) -> Descriptor {
    routes([&[0][..], &slots.to_le_bytes(), &[7]].concat())
}

/// A vendor message that names nobody's vendor.
fn vendor(kind: u8, n: u32) -> Descriptor {
    let payload = [&b"EVIL\x01\x00\x01\x00"[..], &n.to_le_bytes()].concat();
    Descriptor::new(guid(10_000 + n), Kind::Other(kind), payload).ttl(1)
}

pub(super) const ATTACKS: [Attack; 15] = [
    (
        "headers without end",
        |fixture| fixture.stranger(&[CONNECT_06, &b"X-Y: z\r\n".repeat(20_000)[..]].concat()),
        Fate::Tolerated,
        2_500,
    ),
    (
        "a header that is folded without end",
        |fixture| {
            fixture.stranger(&[CONNECT_06, b"X-Y: z\r\n", &b" z\r\n".repeat(20_000)[..]].concat());
        },
        Fate::Tolerated,
        2_500,
    ),
    (
        "one line without end",
        |fixture| fixture.stranger(&[CONNECT_06, b"X-Y: ", &b"z".repeat(100_000)[..]].concat()),
        Fate::Tolerated,
        2_500,
    ),
    (
        "victims in X-Try of each handshake",
        |fixture| {
            for n in 0..200 {
                let tries = (0..50).map(|at| victim(50 * n + at).to_string());
                let tries: Vec<String> = tries.collect();
                let said = format!("X-Try: {0}\r\nX-Try-Ultrapeers: {0}\r\n\r\n", tries.join(","));
                let stranger = fixture.sut.dial();
                fixture.sut.send_bytes(stranger, &[CONNECT_06, said.as_bytes()].concat());
                fixture.sut.net.reset(stranger);
                fixture.sut.net.settle();
            }
            fixture.sut.wait_secs(10);
        },
        Fate::Tolerated,
        50,
    ),
    (
        "a route table begun again and again",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.storm(5_000, |_| reset());
        },
        Fate::Tolerated,
        650,
    ),
    (
        "a route table changed again and again",
        |fixture| {
            fixture.becomes(LEAF);
            fixture
                .storm(5_000, |n| if n % 2 == 0 { reset() } else { patch(1, 1, &[FREE, HELLO]) });
        },
        Fate::Tolerated,
        650,
    ),
    (
        "the largest route table begun again and again",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.storm(5_000, |_| reset_of(1 << 21));
        },
        Fate::Tolerated,
        650,
    ),
    (
        "a route table larger than any",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.sut.send(fixture.villain, &reset_of(1 << 30));
        },
        Fate::Closed,
        50,
    ),
    (
        "a change of a route table without a table",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.sut.send(fixture.villain, &patch(1, 1, &[FREE]));
        },
        Fate::Closed,
        50,
    ),
    (
        "a change of a route table that inflates to 32 MiB",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.sut.send(fixture.villain, &reset_of(1 << 21));
            let bomb = [&[1, 1, 1, 1, 4][..], &deflate(&vec![0; 32 << 20])].concat();
            for piece in routes(bomb).bytes().chunks(10_000) {
                fixture.sut.send_bytes(fixture.villain, piece);
            }
        },
        Fate::Closed,
        200_000,
    ),
    (
        "a deflated link of zeros without end",
        |fixture| {
            let villain = fixture.sut.dial();
            let said =
                [CONNECT_06, b"X-Ultrapeer: True\r\nAccept-Encoding: deflate\r\n\r\n"].concat();
            fixture.sut.send_bytes(villain, &said);
            fixture.sut.read(villain);
            let last = b"GNUTELLA/0.6 200 OK\r\nContent-Encoding: deflate\r\n\r\n";
            fixture.sut.send_bytes(villain, last);
            for piece in deflate(&vec![0; 64 << 20]).chunks(1_000) {
                fixture.sut.send_bytes(villain, piece);
            }
            fixture.villain = villain;
        },
        Fate::Closed,
        90_000,
    ),
    (
        "a leaf that floods",
        |fixture| {
            fixture.becomes(LEAF);
            fixture.storm(5_000, |n| query(guid(10_000 + n), "nobody has this"));
        },
        Fate::Tolerated,
        1_250,
    ),
    (
        "a leaf that floods while ultrapeers are there",
        |fixture| {
            fixture.becomes(ULTRAPEER);
            fixture.becomes(LEAF);
            fixture.storm(5_000, |n| query(guid(10_000 + n), "nobody has this"));
        },
        Fate::Tolerated,
        1_350,
    ),
    (
        "vendor messages of nobody",
        |fixture| {
            fixture.becomes(&[ULTRAPEER, "Vendor-Message: 0.1\r\n"].concat());
            fixture.storm(5_000, |n| vendor(0x31, n));
        },
        Fate::Tolerated,
        550,
    ),
    (
        "vendor messages of nobody, of the other kind",
        |fixture| {
            fixture.becomes(&[ULTRAPEER, "Vendor-Message: 0.1\r\n"].concat());
            fixture.storm(5_000, |n| vendor(0x32, n));
        },
        Fate::Tolerated,
        550,
    ),
];
