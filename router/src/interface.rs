//! TUN interfaces, in network namespaces.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::str::FromStr;

use rustix::io::Errno;
use thiserror::Error;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::Namespace;

/// Device file of the driver.
const DRIVER: &str = "/dev/net/tun";
/// Packets that the kernel holds until the router reads them: 25 ms at 1 Gbit/s.
/// This is not a standing queue; it covers times when the forwarding thread is
/// not scheduled.
const TX_QUEUE_LEN: u32 = 2048;

/// A failure to use an interface, with the remedy.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// The argument is not an interface name.
    #[error(
        "{0:?}: expected [NAMESPACE:]INTERFACE, an interface of 1 to 15 characters without \
         spaces, `/` and `:`"
    )]
    Name(String),
    /// The namespace does not exist.
    #[error(
        "{interface}: no network namespace {path}; create it with `ip netns add NAME`, or give \
         the path of one, such as /proc/PID/ns/net"
    )]
    NoNamespace {
        /// The interface.
        interface: Place,
        /// The namespace's file.
        path: String,
    },
    /// The namespace cannot be entered.
    #[error(
        "{interface}: cannot enter network namespace {path}: {source}; this requires \
         CAP_SYS_ADMIN: run as root"
    )]
    Namespace {
        /// The interface.
        interface: Place,
        /// The namespace's file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The driver is missing.
    #[error(
        "{interface}: no {DRIVER}; load the driver with `modprobe tun`, and pass the device \
         to a container with `--device {DRIVER}`"
    )]
    NoDriver {
        /// The interface.
        interface: Place,
    },
    /// The caller may not create an interface.
    #[error(
        "{interface}: not permitted to create a TUN interface; this requires CAP_NET_ADMIN: \
         run as root, or `setcap cap_net_admin+ep` on the program"
    )]
    Permission {
        /// The interface.
        interface: Place,
    },
    /// Another program uses the interface.
    #[error("{interface}: in use by another program; stop it, or use another name")]
    Busy {
        /// The interface.
        interface: Place,
    },
    /// An interface of another kind has this name.
    #[error(
        "{interface}: exists, but is not a TUN interface with one queue; use another name, or \
         create it with `ip tuntap add mode tun`"
    )]
    Kind {
        /// The interface.
        interface: Place,
    },
    /// Another failure.
    #[error("{interface}: cannot create a TUN interface: {source}")]
    Other {
        /// The interface.
        interface: Place,
        /// Why.
        source: io::Error,
    },
}

/// Name of an interface, written `[NAMESPACE:]INTERFACE`. A namespace that
/// contains a `/` is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace; `None` for that of the program.
    pub namespace: Option<Namespace>,
    /// The interface's name.
    pub name: String,
}

impl FromStr for Place {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Place, InterfaceError> {
        let (namespace, name) = match text.rsplit_once(':') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        // Names that the kernel accepts (dev_valid_name).
        let valid = (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains('/')
            && !name.contains(char::is_whitespace)
            && !name.contains(char::is_control)
            && !name.contains('%');
        let named = |name: &str| !name.is_empty() && name != "." && name != "..";
        let namespace = match namespace {
            None => None,
            Some(path) if path.contains('/') => Some(Namespace::File(path.into())),
            Some(name) if named(name) => Some(Namespace::Named(name.to_owned())),
            Some(_) => return Err(InterfaceError::Name(text.to_owned())),
        };
        match valid {
            true => Ok(Place {
                namespace,
                name: name.to_owned(),
            }),
            false => Err(InterfaceError::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}:")?;
        }
        f.write_str(&self.name)
    }
}

impl Place {
    /// Runs `work` in the interface's namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, InterfaceError> {
        let Some(namespace) = &self.namespace else {
            return Ok(work());
        };
        let entered = namespace.open().and_then(|net| net.inside(work));
        entered.map_err(|source| {
            let path = namespace.path().display().to_string();
            let interface = self.clone();
            match source.kind() {
                io::ErrorKind::NotFound => InterfaceError::NoNamespace { interface, path },
                _ => InterfaceError::Namespace {
                    interface,
                    path,
                    source,
                },
            }
        })
    }
}

/// A TUN interface that is up.
///
/// It is deleted on drop, unless it existed before (`ip tuntap add`): then it
/// keeps its addresses and routes.
pub struct Interface {
    place: Place,
    device: SyncDevice,
}

impl Interface {
    /// Creates the interface, or attaches to the existing one of this name, and sets
    /// it up. Offloads are off, so the host's stack does the segmentation.
    ///
    /// # Errors
    /// [`InterfaceError`] with the remedy.
    pub fn open(place: &Place, mtu: u16) -> Result<Interface, InterfaceError> {
        if !Path::new(DRIVER).exists() {
            return Err(InterfaceError::NoDriver {
                interface: place.clone(),
            });
        }
        let made = place.inside(|| make(place, mtu))?;
        let device = made.map_err(|error| explain(place, error))?;
        Ok(Interface {
            place: place.clone(),
            device,
        })
    }

    /// Its name and namespace.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Reads a packet; `WouldBlock` if none is available.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.recv(buffer)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Those of write(2); `EIO` while the interface is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).map(drop)
    }

    /// The kernel's counters of the interface; `None` if they cannot be read.
    pub fn counters(&self) -> Option<Counters> {
        let name = &self.place.name;
        self.place.inside(|| Counters::here(name)).ok()?
    }
}

/// The kernel's counters of an interface, from the host's side: packets written
/// by the router are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets dropped because the router did not read them in time.
    pub dropped: u64,
}

impl Counters {
    /// Reads those of the interface `name` in the thread's namespace; `None` if
    /// there is no such interface.
    pub fn here(name: &str) -> Option<Counters> {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
        Counters::parse(&table, name)
    }

    /// Parses /proc/net/dev (proc(5)): eight columns for receiving (bytes,
    /// packets, errors, drops, ...), then eight for sending.
    fn parse(table: &str, name: &str) -> Option<Counters> {
        let lines = table.lines().filter_map(|line| line.split_once(':'));
        let (_, columns) = { lines }.find(|(interface, _)| interface.trim() == name)?;
        let numbers: Vec<u64> = columns
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        Some(Counters {
            received_bytes: *numbers.first()?,
            received: *numbers.get(1)?,
            sent: *numbers.get(9)?,
            dropped: *numbers.get(11)?,
        })
    }
}

impl AsFd for Interface {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({})", self.place)
    }
}

/// One queue, because one thread forwards. Without offloads, the host segments to
/// the MTU before packets arrive here, so each is queued, marked and paced
/// separately.
fn make(place: &Place, mtu: u16) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(&place.name)
        .layer(Layer::L3)
        .mtu(mtu)
        .offload(false)
        .tx_queue_len(TX_QUEUE_LEN)
        .enable(true)
        .build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

fn explain(place: &Place, source: io::Error) -> InterfaceError {
    let interface = place.clone();
    match Errno::from_io_error(&source) {
        Some(Errno::PERM | Errno::ACCESS) => InterfaceError::Permission { interface },
        Some(Errno::BUSY) => InterfaceError::Busy { interface },
        Some(Errno::INVAL) => InterfaceError::Kind { interface },
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => InterfaceError::NoDriver { interface },
        _ => InterfaceError::Other { interface, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_parse_and_display() {
        for text in ["l4s0", "client:l4s0", "/proc/1/ns/net:tun-0", "a.b:x"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let place: Place = "client:l4s0".parse().unwrap();
        assert_eq!(
            place.namespace.unwrap().path(),
            Path::new("/run/netns/client")
        );
        for text in [
            "",
            ":",
            ":l4s0",
            "..:l4s0",
            "client:",
            "a/b",
            "sixteen-letters0",
            "a b",
            ".",
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("[NAMESPACE:]INTERFACE"), "{text}: {error}");
        }
    }

    #[test]
    fn missing_namespace_error_names_the_command() {
        let place: Place = "l4sllm-none:l4s0".parse().unwrap();
        let error = place.inside(|| ()).unwrap_err().to_string();
        assert!(error.contains("/run/netns/l4sllm-none"), "{error}");
        assert!(error.contains("ip netns add"), "{error}");
    }

    #[test]
    fn errors_name_the_remedy() {
        let place: Place = "l4s0".parse().unwrap();
        for (errno, part) in [
            (Errno::PERM, "CAP_NET_ADMIN"),
            (Errno::ACCESS, "CAP_NET_ADMIN"),
            (Errno::BUSY, "in use by another program"),
            (Errno::INVAL, "ip tuntap add mode tun"),
            (Errno::NOENT, "modprobe tun"),
        ] {
            let error = explain(&place, errno.into()).to_string();
            assert!(
                error.starts_with("l4s0: ") && error.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn counters_parse_from_proc_net_dev() {
        let table = "Inter-|   Receive | Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 \
                     9 10 11 12 13 14 15 16\n  l4s0:1 0 0 0 0 0 0 0 9 9 0 77 0 0 0 0\n";
        let lo = Counters {
            received_bytes: 1,
            received: 2,
            sent: 10,
            dropped: 12,
        };
        assert_eq!(Counters::parse(table, "lo"), Some(lo));
        assert_eq!(Counters::parse(table, "l4s0").unwrap().dropped, 77);
        assert_eq!(Counters::parse(table, "l4s"), None);
    }
}
