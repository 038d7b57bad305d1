//! A UDP socket with the ECN codepoint of each packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use l4sllm_abi::Ecn;
use nix::sys::socket::sockopt::{IpRecvTos, Ipv6RecvTClass};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A socket that does not block.
#[derive(Debug)]
pub struct EcnSocket {
    socket: UdpSocket,
    is_v6: bool,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its length, bytes.
    pub length: usize,
    /// Its codepoint.
    pub ecn: Ecn,
    /// Its sender.
    pub from: SocketAddr,
}

impl EcnSocket {
    /// Binds to `local`.
    ///
    /// # Errors
    /// Those of bind(2) and setsockopt(2).
    pub fn bind(local: SocketAddr) -> io::Result<EcnSocket> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        let is_v6 = local.is_ipv6();
        match is_v6 {
            true => setsockopt(&socket, Ipv6RecvTClass, &true)?,
            false => setsockopt(&socket, IpRecvTos, &true)?,
        }
        Ok(EcnSocket { socket, is_v6 })
    }

    /// The local address.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives only from `to`, and reports errors if nothing listens there.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        self.socket.connect(to)
    }

    /// Sends a datagram; false if a queue of this host is full. `to` is for a
    /// socket that is not connected.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send(&self, datagram: &[u8], ecn: Ecn, to: Option<SocketAddr>) -> io::Result<bool> {
        let (tos, class) = (ecn.code(), i32::from(ecn.code()));
        let control = match self.is_v6 {
            true => ControlMessage::Ipv6TClass(&class),
            false => ControlMessage::Ipv4Tos(&tos),
        };
        let to = to.map(SockaddrStorage::from);
        let parts = [IoSlice::new(datagram)];
        let fd = self.socket.as_raw_fd();
        match sendmsg(fd, &parts, &[control], MsgFlags::empty(), to.as_ref()) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::ENOBUFS | nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives a datagram; `None` if none is waiting.
    ///
    /// # Errors
    /// Those of recvmsg(2); `ConnectionRefused` if nothing receives at the other
    /// end.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        let mut buffers = [IoSliceMut::new(buffer)];
        let mut control = nix::cmsg_space!(u8, i32);
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut control), flags);
        let message = match message {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let class = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
            ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
            _ => None,
        });
        let from = message.address.as_ref().and_then(address);
        let from = from.ok_or_else(|| io::Error::other("a datagram without an address"))?;
        Ok(Some(Arrival {
            length: message.bytes,
            ecn: Ecn::try_from(class.unwrap_or(0) & 3).unwrap_or(Ecn::NotEct),
            from,
        }))
    }

    /// Waits until a datagram may be there, at most for `wait`.
    pub fn wait(&self, wait: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        // On an interruption the caller looks again.
        let _ = poll(&mut fds, Some(&timeout));
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let four = storage
        .as_sockaddr_in()
        .map(|address| SocketAddr::V4(std::net::SocketAddrV4::new(address.ip(), address.port())));
    four.or_else(|| {
        let six = storage.as_sockaddr_in6()?;
        Some(SocketAddr::V6((*six).into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each packet has its own codepoint, in both families.
    #[test]
    fn codepoints_are_set_and_read_packet_by_packet() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let bind = || EcnSocket::bind(loopback.parse().unwrap());
            let (Ok(sender), Ok(receiver)) = (bind(), bind()) else {
                println!("skipped: codepoints_are_set_and_read_packet_by_packet (no {loopback})");
                continue;
            };
            let to = receiver.local().unwrap();
            for ecn in [Ecn::Ect1, Ecn::NotEct, Ecn::Ce, Ecn::Ect0] {
                assert!(sender.send(b"datagram", ecn, Some(to)).unwrap());
                receiver.wait(Duration::from_secs(10));
                let arrival = receiver.receive(&mut [0; 100]).unwrap().unwrap();
                assert_eq!((arrival.length, arrival.ecn), (8, ecn), "{loopback}");
                assert_eq!(arrival.from, sender.local().unwrap());
            }
            assert_eq!(receiver.receive(&mut [0; 100]).unwrap(), None);
        }
    }
}
