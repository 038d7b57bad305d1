//! Messages of udp_prague: packed, integers in network byte order.

/// Type of a data message.
const DATA: u8 = 1;
/// Type of an acknowledgement of one data message.
const ACK: u8 = 17;

/// The header of a datagram, followed by any payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// The sender's clock when it was sent, us.
    pub timestamp: u32,
    /// The receiver's last timestamp plus the time since its arrival, us; 0
    /// before the first.
    pub echoed: u32,
    /// Number of the datagram, from 1.
    pub number: u32,
}

impl Data {
    /// Length, bytes.
    pub const BYTES: usize = 13;

    /// Writes it to the beginning of a datagram of at least [`Data::BYTES`].
    pub fn write(&self, datagram: &mut [u8]) {
        datagram[0] = DATA;
        for (at, field) in [self.timestamp, self.echoed, self.number]
            .into_iter()
            .enumerate()
        {
            datagram[1 + 4 * at..5 + 4 * at].copy_from_slice(&field.to_be_bytes());
        }
    }

    /// Reads it from the beginning of a datagram; `None` if it is something else.
    pub fn read(datagram: &[u8]) -> Option<Data> {
        let [timestamp, echoed, number] = fields(datagram, DATA)?;
        Some(Data {
            timestamp,
            echoed,
            number,
        })
    }
}

/// An acknowledgement, with the receiver's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Number of the datagram that it acknowledges.
    pub number: u32,
    /// The receiver's clock when it was sent, us.
    pub timestamp: u32,
    /// Timestamp of the datagram plus the time since its arrival, us.
    pub echoed: u32,
    /// Datagrams received.
    pub received: u32,
    /// Datagrams received with CE.
    pub marked: u32,
    /// Datagrams that are missing; shrinks if one arrives late.
    pub lost: u32,
    /// Whether a datagram arrived without ECT(1) and CE.
    pub bleached: bool,
}

impl Ack {
    /// Length, bytes.
    pub const BYTES: usize = 26;

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; Ack::BYTES] {
        let mut bytes = [0; Ack::BYTES];
        bytes[0] = ACK;
        let fields = [
            self.number,
            self.timestamp,
            self.echoed,
            self.received,
            self.marked,
            self.lost,
        ];
        for (at, field) in fields.into_iter().enumerate() {
            bytes[1 + 4 * at..5 + 4 * at].copy_from_slice(&field.to_be_bytes());
        }
        bytes[25] = self.bleached.into();
        bytes
    }

    /// Reads it; `None` if the datagram is something else.
    pub fn read(datagram: &[u8]) -> Option<Ack> {
        let [number, timestamp, echoed, received, marked, lost] = fields(datagram, ACK)?;
        Some(Ack {
            number,
            timestamp,
            echoed,
            received,
            marked,
            lost,
            bleached: *datagram.get(25)? != 0,
        })
    }
}

/// The integers after the type of a message.
fn fields<const N: usize>(datagram: &[u8], kind: u8) -> Option<[u32; N]> {
    let (first, rest) = datagram.split_first()?;
    let rest = rest.get(..4 * N).filter(|_| *first == kind)?;
    let mut fields = [0; N];
    for (field, bytes) in fields.iter_mut().zip(rest.chunks_exact(4)) {
        *field = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte for byte what udp_prague's packed structs have.
    #[test]
    fn messages_have_the_layout_of_udp_prague() {
        let data = Data {
            timestamp: 0x0102_0304,
            echoed: 0x0506_0708,
            number: 1,
        };
        let mut bytes = [0xff; 20];
        data.write(&mut bytes);
        assert_eq!(bytes[..14], [1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0xff]);
        assert_eq!(Data::read(&bytes), Some(data));

        let ack = Ack {
            number: 1,
            timestamp: 2,
            echoed: 3,
            received: 4,
            marked: 5,
            lost: 0x0100,
            bleached: true,
        };
        let bytes = ack.to_bytes();
        let expected = [
            17, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 1, 0, 1,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(Ack::read(&bytes), Some(ack));
    }

    #[test]
    fn other_datagrams_are_ignored() {
        assert_eq!(Data::read(&[]), None);
        assert_eq!(Data::read(&[1; 12]), None);
        assert_eq!(Data::read(&[2; 40]), None, "a frame of its real-time mode");
        assert_eq!(Ack::read(&[17; 25]), None);
        assert_eq!(
            Ack::read(&[18; 40]),
            None,
            "an acknowledgement as in RFC 8888"
        );
    }
}
