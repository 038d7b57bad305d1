//! Packets on the router's link to the server, from tcpdump's file.

use std::io::{self, Read};

use l4sllm_router::ports;
use pcap_file::pcap::PcapReader;
use pcap_file::{DataLink, PcapError};

/// A captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Captured {
    /// Length, from the IP header on.
    pub bytes: u32,
    /// Destination port of TCP and UDP.
    pub port: Option<u16>,
}

/// Reads the IP packets of a pcap file. A partial packet at the end is ignored.
///
/// # Errors
/// Not a pcap file, or one of another link type.
pub(super) fn read(file: impl Read) -> io::Result<Vec<Captured>> {
    let mut reader = PcapReader::new(file).map_err(error)?;
    let link = reader.header().datalink;
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_raw_packet() {
        let packet = match packet {
            Ok(packet) => packet,
            Err(PcapError::IncompleteBuffer) => break,
            Err(PcapError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break;
            }
            Err(other) => return Err(error(other)),
        };
        let Some(at) = network_header(link, &packet.data)? else {
            continue;
        };
        packets.push(Captured {
            bytes: packet.orig_len.saturating_sub(at as u32),
            port: ports(&packet.data[at..]).map(|(_, destination)| destination),
        });
    }
    Ok(packets)
}

/// Position of the IP header; `None` if the packet is not IP.
fn network_header(link: DataLink, packet: &[u8]) -> io::Result<Option<usize>> {
    let ethernet_types = [[0x08, 0x00], [0x86, 0xdd]];
    match link {
        DataLink::ETHERNET => {
            let kind = packet.get(12..14);
            Ok(ethernet_types
                .iter()
                .any(|ip| kind == Some(ip))
                .then_some(14))
        }
        DataLink::RAW => Ok(Some(0)),
        other => Err(io::Error::other(format!(
            "expected Ethernet or IP packets, found the link type {other:?}"
        ))),
    }
}

fn error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
