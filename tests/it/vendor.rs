//! Vendor messages and Byes of our own: what they say survives the wire.

use crate::support::recorded::Recording;
use crate::support::vectors::load_descriptor;
use servent::wire::vendor::{
    EXPERIMENTAL, MAX_ITEMS, MessageId, STANDARD, VendorCode, VendorMeaning, VendorMessage,
};
use servent::wire::{Bye, Deframer, block_len};

fn id(vendor: &[u8; 4], selector: u16, version: u16) -> MessageId {
    MessageId { vendor: VendorCode(*vendor), selector, version }
}

#[test]
fn every_meaning_is_written_as_it_is_read() {
    let supported = vec![id(b"BEAR", 4, 1), id(b"LIME", 21, 1)];
    let features = vec![(VendorCode(*b"TLS!"), 1)];
    for (meaning, text) in [
        (VendorMeaning::MessagesSupported(supported), "reads BEAR/4 v1, LIME/21 v1"),
        (VendorMeaning::FeaturesSupported(features), "has TLS! v1"),
        (VendorMeaning::HopsFlow(2), "takes no Queries of 2 hops or more"),
        (VendorMeaning::HopsFlow(255), "takes Queries of any hops"),
        (VendorMeaning::TcpConnectBack(6346), "asks for a connection to its port 6346"),
        (VendorMeaning::UdpConnectBack(6346), "asks for UDP to its port 6346"),
        (VendorMeaning::QueryStatusRequest, "asks how many results a search has"),
        (VendorMeaning::QueryStatus(300), "the search has 300 results"),
        (VendorMeaning::ResultsWaiting(9), "has 9 results to send by UDP"),
        (VendorMeaning::SendResults(9), "asks for 9 results by UDP"),
        (VendorMeaning::PushProxyRequest, "asks for a push proxy"),
        (
            VendorMeaning::PushProxyAck("198.51.100.7:6347".parse().unwrap()),
            "is the push proxy at 198.51.100.7:6347",
        ),
    ] {
        let mut payload = Vec::new();
        meaning.encode(&mut payload);
        let message = VendorMessage::decode(EXPERIMENTAL, &payload).unwrap();
        assert_eq!(message.id, meaning.id());
        assert_eq!(message.meaning().as_ref(), Some(&meaning));
        assert_eq!(meaning.to_string(), text);
        for len in 0..payload.len() {
            let cut = VendorMessage::decode(STANDARD, &payload[..len]);
            let said = cut.ok().and_then(|message| message.meaning());
            assert!(len >= 8 || said.is_none(), "{text}");
            assert_ne!(said.as_ref(), Some(&meaning), "{text}: {len} bytes");
            if meaning == VendorMeaning::ResultsWaiting(9) && len == 8 {
                break;
            }
        }
    }
}

#[test]
fn the_vector_and_real_servents_say_what_they_read() {
    let vector = load_descriptor("vendor-supported");
    let message = VendorMessage::decode(vector.kind, &vector.payload).unwrap();
    let supported = vec![id(b"BEAR", 4, 1), id(b"LIME", 21, 1)];
    assert_eq!(message.meaning(), Some(VendorMeaning::MessagesSupported(supported)));

    let received = Recording::load("limewire-in-06-ultrafull").received();
    let mut deframer = Deframer::default();
    let mut found = deframer.feed(&received[block_len(&received).unwrap()..]);
    let mut said = Vec::new();
    while let Some(raw) = found.next().unwrap() {
        if raw.header().kind == EXPERIMENTAL {
            let message = VendorMessage::decode(EXPERIMENTAL, raw.payload()).unwrap();
            said.extend(message.meaning());
        }
    }
    let [
        VendorMeaning::MessagesSupported(messages),
        VendorMeaning::FeaturesSupported(features),
        ..,
    ] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!((messages.len(), messages[0]), (11, id(b"LIME", 8, 1)));
    assert_eq!((features.len(), features[0]), (5, (VendorCode(*b"F2FT"), 0)));
}

#[test]
fn what_is_unknown_or_does_not_fit_says_nothing() {
    for (vendor, selector, version, data) in [
        (b"LIME", 99, 1, &b"x"[..]),
        (b"BEAR", 4, 2, b"\x02"),
        (b"BEAR", 4, 1, b""),
        (b"LIME", 22, 2, b"\x01\x02\x03\x04\x05"),
        (b"\0\0\0\0", 0, 0, b"\x02\0BEAR\x04\0\x01\0"),
    ] {
        let message = VendorMessage { id: id(vendor, selector, version), data };
        assert_eq!(message.meaning(), None, "{message:?}");
        let mut payload = Vec::new();
        message.encode(&mut payload);
        assert_eq!(VendorMessage::decode(STANDARD, &payload), Ok(message));
    }
    let many = VendorMeaning::MessagesSupported(vec![id(b"BEAR", 4, 1); MAX_ITEMS + 1]);
    let mut payload = Vec::new();
    many.encode(&mut payload);
    let message = VendorMessage::decode(EXPERIMENTAL, &payload).unwrap();
    let Some(VendorMeaning::MessagesSupported(all)) = message.meaning() else { panic!() };
    assert_eq!(all.len(), MAX_ITEMS);
}

#[test]
fn a_bye_of_ours_is_never_empty_and_one_line() {
    for (text, sent) in [("", &b"\x9d\x01Bye\0"[..]), ("no\r\nlines\0", b"\x9d\x01no  lines \0")] {
        let mut payload = Vec::new();
        Bye::write(413, text, &mut payload);
        assert_eq!(payload, sent);
        let bye = Bye::decode(&payload).unwrap();
        assert_eq!((bye.code, bye.headers().count()), (413, 0));
    }
    let vector = load_descriptor("bye-headers");
    let bye = Bye::decode(&vector.payload).unwrap();
    assert_eq!(bye.headers().collect::<Vec<_>>(), [b"Server: Rust/0.1"]);
}
