//! IP headers: parsing, and marking with checksum updates.

#![allow(clippy::unwrap_used, reason = "tests")]

use l4sllm_abi::Ecn;
use l4sllm_router::{Header, Malformed, mark, ports};
use l4sllm_testbed::aqm::classify;
use proptest::prelude::*;

/// The checksum of a header with its checksum field taken as 0 (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).enumerate().map(|(at, word)| match at {
        5 => 0,
        _ => u32::from(u16::from_be_bytes([word[0], word[1]])),
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn stored(header: &[u8]) -> u16 {
    u16::from_be_bytes([header[10], header[11]])
}

/// An IPv4 packet with random fields, options and payload, and a correct checksum.
fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 60 + 100);
    (bytes, 5..=15u8, 0..100usize).prop_map(|(mut packet, words, payload)| {
        let header = usize::from(words) * 4;
        packet.truncate(header + payload);
        packet[0] = 0x40 | words;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        let sum = checksum(&packet[..header]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    })
}

fn ipv6() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 40..140).prop_map(|mut packet| {
        packet[0] = 0x60 | packet[0] & 0x0f;
        let payload = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet
    })
}

/// DSCP and ECN from the layouts in the RFCs, independent of the code under test.
fn traffic_class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => (u16::from_be_bytes([packet[0], packet[1]]) >> 4) as u8,
    }
}

/// Addresses, protocol and ports in an IPv4 packet without options.
fn datagram4(addresses: [[u8; 4]; 2], protocol: u8, ports: [u16; 2], fragment: u16) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&addresses[0]);
    packet[16..20].copy_from_slice(&addresses[1]);
    packet[20..22].copy_from_slice(&ports[0].to_be_bytes());
    packet[22..24].copy_from_slice(&ports[1].to_be_bytes());
    packet
}

fn datagram6(addresses: [[u8; 16]; 2], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[0] = 0x60;
    packet[5] = 8;
    packet[6] = protocol;
    packet[8..24].copy_from_slice(&addresses[0]);
    packet[24..40].copy_from_slice(&addresses[1]);
    packet[40..42].copy_from_slice(&ports[0].to_be_bytes());
    packet[42..44].copy_from_slice(&ports[1].to_be_bytes());
    packet
}

fn flow(packet: &[u8]) -> u32 {
    Header::parse(packet).unwrap().flow
}

proptest! {
    #[test]
    fn marking_ipv4_updates_the_checksum(packet in ipv4()) {
        let ecn = Header::parse(&packet).unwrap().ecn;
        let mut marked = packet.clone();
        prop_assert_eq!(mark(&mut marked), ecn != Ecn::NotEct);
        let header = usize::from(packet[0] & 15) * 4;
        // Both +0 and -0 are correct (RFC 1624, section 3).
        let (got, want) = (stored(&marked), checksum(&marked[..header]));
        prop_assert!(got == want || got == !want && matches!(want, 0 | 0xffff));
        // Nothing else changes.
        let mut expected = packet;
        if ecn != Ecn::NotEct {
            expected[1] |= 3;
            expected[10..12].copy_from_slice(&marked[10..12]);
        }
        prop_assert_eq!(marked, expected);
    }

    #[test]
    fn marking_ipv6_changes_only_the_codepoint(packet in ipv6()) {
        let ecn = Header::parse(&packet).unwrap().ecn;
        let mut marked = packet.clone();
        prop_assert_eq!(mark(&mut marked), ecn != Ecn::NotEct);
        let mut expected = packet;
        if ecn != Ecn::NotEct {
            expected[1] |= 0x30;
        }
        prop_assert_eq!(marked, expected);
    }

    #[test]
    fn codepoints_match_the_header(packet in prop_oneof![ipv4(), ipv6()]) {
        let header = Header::parse(&packet).unwrap();
        let class = traffic_class(&packet);
        prop_assert_eq!((header.ecn.code(), header.dscp), (class & 3, class >> 2));
        // The queue is selected as for the emulator's packets.
        prop_assert_eq!(classify(header.ecn), classify(Ecn::try_from(class & 3).unwrap()));
    }

    #[test]
    fn arbitrary_bytes_are_parsed_or_rejected(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let expected = match bytes.first().map(|first| first >> 4) {
            Some(4) if bytes.len() >= 20 => None,
            Some(6) if bytes.len() >= 40 => None,
            Some(4 | 6) => Some(Malformed::Short),
            _ => Some(Malformed::NotIp),
        };
        prop_assert_eq!(Header::parse(&bytes).err(), expected);
        let before = bytes.clone();
        if !mark(&mut bytes) {
            prop_assert_eq!(bytes, before);
        }
    }

    #[test]
    fn packets_of_a_flow_share_a_hash(
        a in any::<[[u8; 4]; 2]>(),
        b in any::<[[u8; 16]; 2]>(),
        ports in any::<[u16; 2]>(),
        class: u8,
    ) {
        for protocol in [6, 17, 132] {
            let mut marked = datagram4(a, protocol, ports, 0);
            marked[1] = class;
            prop_assert_eq!(flow(&marked), flow(&datagram4(a, protocol, ports, 0)));
            let other = [ports[0], ports[1] ^ 1];
            prop_assert_ne!(flow(&marked), flow(&datagram4(a, protocol, other, 0)));
            prop_assert_ne!(
                flow(&datagram6(b, protocol, ports)),
                flow(&datagram6(b, protocol, other))
            );
        }
        // Without ports: only addresses, which all fragments of a datagram have.
        prop_assert_eq!(
            flow(&datagram4(a, 17, ports, 0x2000)),
            flow(&datagram4(a, 17, [ports[1], !ports[0]], 185))
        );
        prop_assert_eq!(flow(&datagram4(a, 1, ports, 0)), flow(&datagram4(a, 1, [7, 7], 0)));
    }
}

#[test]
fn ports_are_those_of_whole_tcp_and_udp_packets() {
    let addresses = [[10, 0, 0, 1], [10, 0, 0, 2]];
    for protocol in [6, 17] {
        let packet = datagram4(addresses, protocol, [40_000, 5201], 0);
        assert_eq!(ports(&packet), Some((40_000, 5201)));
        let packet = datagram6([[1; 16], [2; 16]], protocol, [40_000, 5201]);
        assert_eq!(ports(&packet), Some((40_000, 5201)));
    }
    // ICMP, fragments, and packets cut short.
    assert_eq!(ports(&datagram4(addresses, 1, [8, 0], 0)), None);
    let mut fragment = datagram4(addresses, 17, [1, 2], 0);
    fragment[6] = 0x20;
    assert_eq!(ports(&fragment), None);
    let packet = datagram4(addresses, 17, [1, 2], 0);
    for length in 0..24 {
        assert_eq!(ports(&packet[..length]), None);
    }
}
