//! Datagrams that carry their send time and are timestamped by the kernel on
//! arrival. They measure a path between two namespaces without the receiver's
//! scheduling delay.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::ReceiveTimestampns,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::Net;

/// Port of the receivers.
const PORT: u16 = 9;
/// Length of an IPv4 and a UDP header, bytes.
const HEADERS: usize = 28;

/// A received datagram. Times are `CLOCK_REALTIME`, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Send time.
    pub sent_ns: u64,
    /// Time at which the kernel received it.
    pub received_ns: u64,
}

/// Sends datagrams to a [`Receiver`].
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    packet: Vec<u8>,
}

impl Sender {
    /// A sender in `net` of packets to the receiver at `to`. `bytes` includes the
    /// headers and is at least 36.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub fn new(net: &Net, to: Ipv4Addr, bytes: usize) -> io::Result<Sender> {
        let socket = net.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.connect((to, PORT))?;
        Ok(Sender {
            socket,
            packet: vec![0; bytes.max(HEADERS + 8) - HEADERS],
        })
    }

    /// Sends a datagram; false if a queue was full.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send(&mut self) -> io::Result<bool> {
        self.packet[..8].copy_from_slice(&realtime_ns()?.to_ne_bytes());
        match self.socket.send(&self.packet) {
            Ok(_) => Ok(true),
            // ENOBUFS: a queue on the path is full.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(false),
            // The reply to an earlier datagram: the receiver is closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Receives datagrams from a [`Sender`].
#[derive(Debug)]
pub struct Receiver(UdpSocket);

impl Receiver {
    /// A receiver in `net` that waits up to `timeout` for a datagram.
    ///
    /// # Errors
    /// Those of socket(2) and setsockopt(2).
    pub fn new(net: &Net, timeout: Duration) -> io::Result<Receiver> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
        let socket = net.inside(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(timeout))?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        Ok(Receiver(socket))
    }

    /// The next datagram; `None` on timeout.
    ///
    /// # Errors
    /// Those of recvmsg(2), and a datagram from another sender.
    pub fn receive(&self) -> io::Result<Option<Arrival>> {
        let mut sent = [0; 8];
        let mut buffers = [IoSliceMut::new(&mut sent)];
        let mut control = nix::cmsg_space!(TimeSpec);
        let fd = self.0.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrIn>(fd, &mut buffers, Some(&mut control), flags);
        let message = match message {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let time = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(time),
            _ => None,
        });
        let Some(time) = time.filter(|_| message.bytes == 8) else {
            return Err(io::Error::other("a datagram without times"));
        };
        Ok(Some(Arrival {
            sent_ns: u64::from_ne_bytes(sent),
            received_ns: ns(time),
        }))
    }
}

fn realtime_ns() -> io::Result<u64> {
    Ok(ns(clock_gettime(ClockId::CLOCK_REALTIME)?))
}

fn ns(time: TimeSpec) -> u64 {
    // Since 1970, so it is positive and does not overflow.
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
