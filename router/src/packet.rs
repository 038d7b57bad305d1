//! IP headers, parsed and marked by the kernel module's code
//! (`kmod/freebsd/iphdr.h`).

use l4sllm_abi::Ecn;
use thiserror::Error;

/// Header fields used by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// ECN codepoint (RFC 3168, RFC 8200).
    pub ecn: Ecn,
    /// DiffServ codepoint, 0 to 63.
    pub dscp: u8,
    /// Flow hash of the addresses, the protocol and, unless the packet is a
    /// fragment, the ports.
    pub flow: u32,
}

/// A packet that cannot be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not version 4 or 6.
    #[error("not an IP packet")]
    NotIp,
    /// Shorter than its header.
    #[error("shorter than its IP header")]
    Short,
}

/// Bytes of an IPv4 header without options (RFC 791).
const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header (RFC 8200).
const IPV6_HEADER: usize = 40;

impl Header {
    /// Parses the header at the beginning of `packet`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        check(packet)?;
        let length = i32::try_from(packet.len()).unwrap_or(i32::MAX);
        // SAFETY: `packet` is readable for `length` bytes, and `check` found a
        // whole header in them.
        let (ds, flow) = unsafe {
            (
                l4s_router_ds(packet.as_ptr()),
                l4s_router_flow(packet.as_ptr(), length),
            )
        };
        Ok(Header {
            ecn: Ecn::try_from(ds & 3).unwrap_or(Ecn::NotEct),
            dscp: ds >> 2,
            // The greatest value is reserved for "no flow".
            flow: flow.min(u32::MAX - 1),
        })
    }
}

/// Sets CE in the header at the beginning of `packet` and updates an IPv4
/// header's checksum incrementally (RFC 1624). Returns false and changes nothing
/// if the packet is not ECN-capable or is malformed.
pub fn mark(packet: &mut [u8]) -> bool {
    // SAFETY: `check` found a whole header; it is writable.
    check(packet).is_ok() && unsafe { l4s_router_mark(packet.as_mut_ptr()) }
}

/// Source and destination port of a TCP or UDP packet; `None` for other
/// protocols, for fragments, and behind IPv6 extension headers.
pub fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let (protocol, header) = match packet.first()? {
        // Neither "more fragments" nor an offset (RFC 791).
        first if first >> 4 == 4 && *packet.get(6)? & 0x3f == 0 && *packet.get(7)? == 0 => {
            (*packet.get(9)?, usize::from(first & 15) * 4)
        }
        first if first >> 4 == 6 => (*packet.get(6)?, IPV6_HEADER),
        _ => return None,
    };
    let both = packet.get(header..header + 4)?;
    let port = |at: usize| u16::from_be_bytes([both[at], both[at + 1]]);
    matches!(protocol, TCP | UDP).then(|| (port(0), port(2)))
}

const TCP: u8 = 6;
const UDP: u8 = 17;

fn check(packet: &[u8]) -> Result<(), Malformed> {
    let header = match packet.first().map(|first| first >> 4) {
        Some(4) => IPV4_HEADER,
        Some(6) => IPV6_HEADER,
        _ => return Err(Malformed::NotIp),
    };
    match packet.len() < header {
        true => Err(Malformed::Short),
        false => Ok(()),
    }
}

// In iphdr.c. All read or write at most a header of the version that the first
// byte gives, and ports within `length`.
unsafe extern "C" {
    fn l4s_router_ds(header: *const u8) -> u8;
    fn l4s_router_flow(header: *const u8, length: i32) -> u32;
    fn l4s_router_mark(header: *mut u8) -> bool;
}
