//! IPv4, TCP and UDP headers for the segments of the emulator.
//!
//! Segments have no addresses: clients are 10.1.0.1 and up, the server is 10.2.0.1,
//! and ports identify a flow as the bottleneck sees it. The payload is not captured;
//! checksums are those of a payload of zeros.

use std::io::{self, Write};

use etherparse::{IpEcn, IpNumber, Ipv4Header, TcpHeader, TcpOptionElement, UdpHeader};
use l4sllm_abi::Ecn;

use crate::scenario::{FlowPlan, Identity};
use crate::transport::{Body, DATAGRAM_HEADER_BYTES, HEADER_BYTES, Segment};

const SERVER: [u8; 4] = [10, 2, 0, 1];

/// First source port.
const SOURCE_PORT: u16 = 1024;
/// First destination port: iperf3's.
const DESTINATION_PORT: u16 = 5201;

static ZEROS: [u8; 65_536] = [0; 65_536];

/// Appends the headers of `segment`, which arrived at the bottleneck at `arrived_ns`
/// and has the codepoint `ecn`. Data of TCP gets a TCP header with timestamps; all
/// other segments, and those in a tunnel, get a UDP header.
///
/// # Errors
/// The segment is longer than an IPv4 packet can be: 65535 bytes.
pub fn headers(
    out: &mut Vec<u8>,
    segment: &Segment,
    plan: &FlowPlan,
    arrived_ns: u64,
    ecn: Ecn,
) -> io::Result<()> {
    let (source_port, destination_port) = ports(plan.seen_as(arrived_ns));
    match segment.body {
        Body::Data { seq, cwr, .. } if plan.identity != Identity::Tunnel => {
            let payload = payload(segment, HEADER_BYTES)?;
            let ip = ip(segment, plan, IpNumber::TCP, 0, ecn)?;
            // The bytes are numbered from 1, after a SYN. The receiver sends no data.
            let mut tcp = TcpHeader::new(
                source_port,
                destination_port,
                (seq as u32).wrapping_add(1),
                u16::MAX,
            );
            (tcp.ack, tcp.acknowledgment_number, tcp.cwr) = (true, 1, cwr);
            let sent_ms = (segment.sent_ns / 1_000_000) as u32;
            let timestamps = [
                TcpOptionElement::Noop,
                TcpOptionElement::Noop,
                TcpOptionElement::Timestamp(sent_ms, 0),
            ];
            tcp.set_options(&timestamps).map_err(io::Error::other)?;
            let checksum = tcp.calc_checksum_ipv4(&ip, payload);
            tcp.checksum = checksum.map_err(io::Error::other)?;
            ip.write(out)?;
            tcp.write(out)
        }
        body => {
            let payload = payload(segment, DATAGRAM_HEADER_BYTES)?;
            // Datagrams have no other number.
            let number = match body {
                Body::Datagram { seq } => seq as u16,
                _ => 0,
            };
            let ip = ip(segment, plan, IpNumber::UDP, number, ecn)?;
            let udp = UdpHeader::with_ipv4_checksum(source_port, destination_port, &ip, payload);
            ip.write(out)?;
            out.write_all(&udp.map_err(io::Error::other)?.to_bytes())
        }
    }
}

/// The payload behind `headers` bytes.
fn payload(segment: &Segment, headers: u32) -> io::Result<&'static [u8]> {
    let bytes = segment.bytes.saturating_sub(headers) as usize;
    let payload = ZEROS.get(..bytes);
    payload.ok_or_else(|| io::Error::other("a segment is longer than an IPv4 packet"))
}

fn ip(
    segment: &Segment,
    plan: &FlowPlan,
    protocol: IpNumber,
    identification: u16,
    ecn: Ecn,
) -> io::Result<Ipv4Header> {
    let bytes = segment.bytes.saturating_sub(Ipv4Header::MIN_LEN as u32);
    let bytes = u16::try_from(bytes).map_err(io::Error::other)?;
    // Addresses end in 1 to 254.
    let host = plan.client % (254 * 256);
    let client = [10, 1, (host / 254) as u8, (host % 254) as u8 + 1];
    let mut ip = Ipv4Header::new(bytes, 64, protocol, client, SERVER).map_err(io::Error::other)?;
    ip.ecn = IpEcn::try_new(ecn.code()).map_err(io::Error::other)?;
    ip.identification = identification;
    Ok(ip)
}

/// Ports of a flow with this number. The first 3.9e9 numbers have distinct ones.
fn ports(number: u32) -> (u16, u16) {
    let sources = u32::from(u16::MAX - SOURCE_PORT) + 1;
    let destinations = u32::from(u16::MAX - DESTINATION_PORT) + 1;
    (
        SOURCE_PORT + (number % sources) as u16,
        DESTINATION_PORT + (number / sources % destinations) as u16,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Cc, FlowConfig};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn plan(identity: Identity) -> FlowPlan {
        FlowPlan {
            config: FlowConfig::new(3, Cc::Cubic),
            reported: 0,
            lasting: true,
            client: 300,
            start_ns: 0,
            stop_ns: None,
            forward_ns: 0,
            return_ns: 0,
            identity,
            group_first: 2,
        }
    }

    fn segment(bytes: u32, body: Body) -> Segment {
        Segment {
            flow: 3,
            bytes,
            ecn: Ecn::Ect0,
            sent_ns: 5_000_000,
            body,
        }
    }

    const DATA: Body = Body::Data {
        seq: (1 << 32) + 41,
        len: 1448,
        retransmit: false,
        cwr: true,
    };

    /// The headers of `segment` with CE, and the missing payload.
    fn packet(segment: &Segment, plan: &FlowPlan) -> Vec<u8> {
        let mut packet = Vec::new();
        headers(&mut packet, segment, plan, 0, Ecn::Ce).unwrap();
        packet.resize(segment.bytes as usize, 0);
        packet
    }

    #[test]
    fn tcp_headers_have_sequence_numbers_ports_and_checksums() {
        let packet = packet(&segment(1500, DATA), &plan(Identity::Own));
        let sliced = SlicedPacket::from_ip(&packet).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
            (sliced.net, sliced.transport)
        else {
            panic!("expected IPv4 and TCP");
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.total_len, u8::from(header.ecn)), (1500, 3));
        assert_eq!(
            (header.source, header.destination),
            ([10, 1, 1, 47], SERVER)
        );
        let checksum = tcp.calc_checksum_ipv4(header.source, header.destination);
        assert_eq!(Ok(tcp.checksum()), checksum);
        assert_eq!((tcp.source_port(), tcp.destination_port()), (1027, 5201));
        // Sequence numbers wrap.
        assert_eq!((tcp.sequence_number(), tcp.payload().len()), (42, 1448));
        assert!(tcp.cwr() && tcp.ack() && !tcp.syn());
        let options: Vec<_> = tcp.options_iterator().flatten().collect();
        assert!(options.contains(&TcpOptionElement::Timestamp(5, 0)));
    }

    #[test]
    fn datagrams_and_tunnels_have_udp_headers() {
        let datagram = segment(1000, Body::Datagram { seq: 65_537 });
        let tunnelled = segment(1500, DATA);
        for (segment, identity, port, number) in [
            (datagram, Identity::Own, 1027, 1),
            (tunnelled, Identity::Tunnel, 1026, 0),
        ] {
            let packet = packet(&segment, &plan(identity));
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) =
                (sliced.net, sliced.transport)
            else {
                panic!("expected IPv4 and UDP");
            };
            let header = ip.header().to_header();
            assert_eq!(u32::from(header.total_len), segment.bytes);
            assert_eq!(u32::from(udp.length()), segment.bytes - 20);
            assert_eq!((udp.source_port(), header.identification), (port, number));
            let udp_header = udp.to_header();
            let expected =
                udp_header.calc_checksum_ipv4_raw(header.source, header.destination, udp.payload());
            assert_eq!(Ok(udp_header.checksum), expected);
        }
    }

    #[test]
    fn flows_have_distinct_ports() {
        let mut seen = std::collections::HashSet::new();
        let numbers = (0..200_000).chain((0..200_000).map(|n: u32| n.wrapping_mul(19_000)));
        let numbers: std::collections::BTreeSet<u32> = numbers.collect();
        let below = numbers.range(..3_890_000_000);
        assert!(below.clone().count() > 300_000);
        assert!(below.into_iter().all(|number| seen.insert(ports(*number))));
    }

    #[test]
    fn overlong_segments_are_errors() {
        let long = segment(70_000, Body::Datagram { seq: 0 });
        assert!(headers(&mut Vec::new(), &long, &plan(Identity::Own), 0, Ecn::Ce).is_err());
    }
}
