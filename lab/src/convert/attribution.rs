//! Assigns records to flows through a capture of the router's link to the server.
//!
//! Records have no flow. The delay behind the queue is the same for all packets, so
//! the k-th forwarded packet is the k-th one on the link; equal lengths of all pairs
//! confirm it. Between the first and the last loss of records the count is unknown.
//! After the last one, packets are counted from the end, when the link is idle.

use super::capture::Captured;
use super::records::Departures;

/// Packets by which the beginning or the end of the capture and of the records may
/// differ: the two programs do not start and end at the same moment.
const SHIFT: usize = 64;

/// Sets the flow of every packet that is found in the capture, with `flow_of` its
/// port, and that of all others, as of dropped ones, to `other`.
///
/// # Errors
/// The capture is not of these packets. No packet has a flow then.
pub(super) fn attribute(
    departures: &mut Departures,
    captured: &[Captured],
    other: u32,
    flow_of: impl Fn(u16) -> Option<u32>,
) -> Result<(), String> {
    departures.rows.iter_mut().for_each(|row| row.flow = other);
    let rows = &mut departures.rows;
    let forwarded: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].forwarded()).collect();
    let bytes: Vec<u32> = forwarded.iter().map(|at| rows[*at].bytes).collect();
    let on_link: Vec<u32> = captured.iter().map(|packet| packet.bytes).collect();
    let before = |row: usize| forwarded.partition_point(|at| *at < row);
    let pairs = match (departures.losses.first(), departures.losses.last()) {
        (Some(first), Some(last)) => {
            let (head, tail) = (before(*first), forwarded.len() - before(*last));
            let mut pairs = match_from_start(&bytes[..head], &on_link, false)?;
            let reversed = |list: &[u32]| list.iter().rev().copied().collect::<Vec<u32>>();
            let (bytes, on_link) = (reversed(&bytes), reversed(&on_link));
            let from_end = match_from_start(&bytes[..tail], &on_link, false)?;
            let count = |(left, right)| (forwarded.len() - 1 - left, captured.len() - 1 - right);
            pairs.extend(from_end.into_iter().map(count));
            pairs
        }
        _ => match_from_start(&bytes, &on_link, true)?,
    };
    for (left, right) in pairs {
        let flow = captured[right].port.and_then(&flow_of);
        rows[forwarded[left]].flow = flow.unwrap_or(other);
    }
    Ok(())
}

/// Pairs of indices with equal lengths, from the least shift between the lists on.
/// `whole`: both lists end together.
///
/// # Errors
/// No shift fits; names the first difference of the unshifted lists.
fn match_from_start(
    bytes: &[u32],
    on_link: &[u32],
    whole: bool,
) -> Result<Vec<(usize, usize)>, String> {
    // Short lists match anything once shifted to their ends.
    let least = bytes.len().min(on_link.len()).div_ceil(2);
    let shifts = (0..=SHIFT).flat_map(|by| [(0, by), (by, 0)]);
    for (left, right) in shifts {
        let (Some(bytes), Some(on_link)) = (bytes.get(left..), on_link.get(right..)) else {
            continue;
        };
        let count = bytes.len().min(on_link.len());
        let most = if whole { on_link.len() } else { count };
        let ends_together = bytes.len().max(most) - count <= SHIFT;
        if count >= least && ends_together && bytes[..count] == on_link[..count] {
            return Ok((0..count).map(|at| (at + left, at + right)).collect());
        }
    }
    let unequal = bytes.iter().zip(on_link).position(|(a, b)| a != b);
    Err(match unequal {
        Some(at) => format!(
            "forwarded packet {} has {} bytes in the records and {} in the capture",
            at + 1,
            bytes[at],
            on_link[at]
        ),
        None => format!(
            "{} packets were forwarded, and {} captured",
            bytes.len(),
            on_link.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::result::PacketRow;

    const OTHER: u32 = 9;

    /// Rows of these lengths; a negative one was dropped.
    fn departures(bytes: &[i32], losses: &[usize]) -> Departures {
        let row = |bytes: &i32| PacketRow {
            bytes: bytes.unsigned_abs(),
            action: u8::from(*bytes < 0),
            ..PacketRow::default()
        };
        Departures {
            rows: bytes.iter().map(row).collect(),
            losses: losses.to_vec(),
        }
    }

    fn captured(packets: &[(u32, u16)]) -> Vec<Captured> {
        let one = |&(bytes, port)| Captured {
            bytes,
            port: Some(port),
        };
        packets.iter().map(one).collect()
    }

    /// Flows of the rows; the flow of port 5201 is 1.
    fn flows(departures: &mut Departures, packets: &[(u32, u16)]) -> Result<Vec<u32>, String> {
        let flow_of = |port: u16| (5201..5209).contains(&port).then(|| u32::from(port - 5200));
        attribute(departures, &captured(packets), OTHER, flow_of)?;
        Ok(departures.rows.iter().map(|row| row.flow).collect())
    }

    #[test]
    fn forwarded_packets_get_the_flows_of_their_ports() {
        let mut rows = departures(&[60, 1500, -1500, 1500, 52], &[]);
        let packets = [(60, 5201), (1500, 5202), (1500, 5201), (52, 123)];
        assert_eq!(flows(&mut rows, &packets), Ok(vec![1, 2, OTHER, 1, OTHER]));
    }

    #[test]
    fn capture_may_start_and_end_earlier_or_later() {
        let packets = [
            (76, 123),
            (60, 5201),
            (1500, 5202),
            (1500, 5201),
            (52, 5202),
        ];
        let mut later = departures(&[60, 1500, 1500, 52], &[]);
        assert_eq!(flows(&mut later, &packets), Ok(vec![1, 2, 1, 2]));
        let mut earlier = departures(&[90, 76, 60, 1500, 1500, 52], &[]);
        let expected = vec![OTHER, OTHER, 1, 2, 1, 2];
        assert_eq!(flows(&mut earlier, &packets), Ok(expected));
        let mut longer = departures(&[76, 60, 1500, 1500, 52, 40], &[]);
        let expected = vec![OTHER, 1, 2, 1, 2, OTHER];
        assert_eq!(flows(&mut longer, &packets), Ok(expected));
    }

    #[test]
    fn packets_around_lost_records_are_counted_from_both_ends() {
        // Two of the three packets between the losses have no record.
        let mut rows = departures(&[60, 1500, 1500, 52, 40], &[2, 3]);
        let packets = [
            (60, 5201),
            (1500, 5202),
            (1500, 5201),
            (1500, 5203),
            (1500, 5204),
            (52, 5202),
            (40, 5201),
        ];
        assert_eq!(flows(&mut rows, &packets), Ok(vec![1, 2, OTHER, 2, 1]));
    }

    #[test]
    fn other_capture_is_refused_at_the_first_difference() {
        let mut rows = departures(&[60, 1500, 52], &[]);
        let packets = [(60, 5201), (1400, 5201), (52, 5201)];
        assert_eq!(
            flows(&mut rows, &packets).unwrap_err(),
            "forwarded packet 2 has 1500 bytes in the records and 1400 in the capture"
        );
        assert!(rows.rows.iter().all(|row| row.flow == OTHER));
        let mut many = departures(&[1500; 200], &[]);
        assert_eq!(
            flows(&mut many, &[(1500, 5201); 20]).unwrap_err(),
            "200 packets were forwarded, and 20 captured"
        );
    }
}
