//! Timing and content of acknowledgements.

use l4sllm_abi::Ecn;

use crate::transport::receiver::DELAYED_ACK_NS;
use crate::transport::segment::{Body, MAX_SACK, MSS, Segment};
use crate::transport::{Cc, Endpoint, FlowConfig, Receiver, receiver};

fn data(number: u64, ecn: Ecn) -> Segment {
    Segment {
        flow: 1,
        bytes: 1500,
        ecn,
        sent_ns: number,
        body: Body::Data {
            seq: number * u64::from(MSS),
            len: MSS,
            retransmit: false,
            cwr: false,
        },
    }
}

type Answer = Option<(u64, Vec<(u64, u64)>, bool)>;

/// The immediate acknowledgement of a segment: cumulative and SACK in segments,
/// and ECE.
fn answer(receiver: &mut Receiver, now_ns: u64, segment: Segment) -> Answer {
    receiver.on_segment(now_ns, &segment);
    polled(receiver, now_ns)
}

fn polled(receiver: &mut Receiver, now_ns: u64) -> Answer {
    let mss = u64::from(MSS);
    let ack = receiver.poll_transmit(now_ns)?;
    assert_eq!(receiver.poll_transmit(now_ns), None);
    let Body::Ack {
        cumulative,
        sack,
        ece,
        ..
    } = ack.body
    else {
        panic!("not an acknowledgement: {ack:?}");
    };
    let blocks: Vec<(u64, u64)> = sack
        .iter()
        .filter(|&&block| block != (0, 0))
        .map(|&(start, end)| (start / mss, end / mss))
        .collect();
    let options = if blocks.is_empty() {
        0
    } else {
        4 + 8 * blocks.len() as u32
    };
    assert_eq!(ack.bytes, 52 + options);
    Some((cumulative / mss, blocks, ece))
}

fn new(cc: Cc) -> Receiver {
    receiver(&FlowConfig::new(1, cc))
}

#[test]
fn every_second_segment() {
    let mut r = new(Cc::Cubic);
    for pair in 0..5 {
        assert_eq!(answer(&mut r, 0, data(2 * pair, Ecn::Ect0)), None);
        assert_eq!(
            answer(&mut r, 0, data(2 * pair + 1, Ecn::Ect0)),
            Some((2 * pair + 2, vec![], false))
        );
    }
}

#[test]
fn a_single_segment_waits_for_the_timer() {
    let mut r = new(Cc::Cubic);
    assert_eq!(r.next_timer(), None);
    assert_eq!(answer(&mut r, 7, data(0, Ecn::Ect0)), None);
    assert_eq!(r.next_timer(), Some(7 + DELAYED_ACK_NS));
    r.on_timer(6 + DELAYED_ACK_NS);
    assert_eq!(polled(&mut r, 6 + DELAYED_ACK_NS), None);
    r.on_timer(7 + DELAYED_ACK_NS);
    assert_eq!(polled(&mut r, 7 + DELAYED_ACK_NS), Some((1, vec![], false)));
    assert_eq!(r.next_timer(), None);
}

#[test]
fn gaps_and_duplicates_are_answered_at_once() {
    let mut r = new(Cc::Cubic);
    let mut at = |number| answer(&mut r, 0, data(number, Ecn::Ect0));
    assert_eq!(at(1), Some((0, vec![(1, 2)], false)));
    assert_eq!(at(3), Some((0, vec![(3, 4), (1, 2)], false)));
    assert_eq!(at(5), Some((0, vec![(5, 6), (3, 4), (1, 2)], false)));
    // Most recent first, three at most.
    assert_eq!(at(7), Some((0, vec![(7, 8), (5, 6), (3, 4)], false)));
    assert_eq!(at(6), Some((0, vec![(5, 8), (3, 4)], false)));
    assert_eq!(at(0), Some((2, vec![(5, 8), (3, 4)], false)));
    // The duplicate first, and the range that contains it second (RFC 2883).
    assert_eq!(at(0), Some((2, vec![(0, 1), (5, 8), (3, 4)], false)));
    assert_eq!(at(3), Some((2, vec![(3, 4), (3, 4), (5, 8)], false)));
    assert_eq!(at(6), Some((2, vec![(6, 7), (5, 8), (3, 4)], false)));
    assert_eq!(at(2), Some((4, vec![(5, 8)], false)));
    assert_eq!(at(4), Some((8, vec![], false)));
    assert_eq!(at(8), None);
    assert_eq!(r.stats().delivered_bytes, 9 * u64::from(MSS));
    assert_eq!(r.stats().duplicate_bytes, 3 * u64::from(MSS));
}

#[test]
fn sack_list_fits() {
    let mut r = new(Cc::Cubic);
    for number in 1..40 {
        let (cumulative, blocks, _) = answer(&mut r, 0, data(2 * number, Ecn::Ect0)).unwrap();
        assert_eq!(cumulative, 0);
        assert_eq!(blocks.len(), (number as usize).min(MAX_SACK));
        assert_eq!(blocks[0], (2 * number, 2 * number + 1));
    }
}

/// RFC 8257, section 3.2: a change of the CE state is reported immediately.
#[test]
fn changes_of_ce_are_reported_at_once() {
    for cc in [Cc::Dctcp, Cc::Prague] {
        let mut r = new(cc);
        assert_eq!(answer(&mut r, 0, data(0, Ecn::Ect1)), None);
        assert_eq!(answer(&mut r, 0, data(1, Ecn::Ce)), Some((2, vec![], true)));
        assert_eq!(answer(&mut r, 0, data(2, Ecn::Ce)), None);
        assert_eq!(answer(&mut r, 0, data(3, Ecn::Ce)), Some((4, vec![], true)));
        assert_eq!(
            answer(&mut r, 0, data(4, Ecn::Ect1)),
            Some((5, vec![], false))
        );
        assert_eq!(answer(&mut r, 0, data(5, Ecn::Ect1)), None);
        assert_eq!(r.stats().counts.ce_packets, 3);
        assert_eq!(r.stats().counts.ce_bytes, 3 * u64::from(MSS));
    }
}

/// RFC 3168, section 6.1.3: ECE until CWR; a mark on the segment with CWR
/// restarts it.
#[test]
fn classic_echo_lasts_until_cwr() {
    let with_cwr = |number, ecn| {
        let mut segment = data(number, ecn);
        if let Body::Data { cwr, .. } = &mut segment.body {
            *cwr = true;
        }
        segment
    };
    let mut r = new(Cc::NewReno);
    assert_eq!(answer(&mut r, 0, data(0, Ecn::Ce)), Some((1, vec![], true)));
    assert_eq!(answer(&mut r, 0, data(1, Ecn::Ect0)), None);
    assert_eq!(
        answer(&mut r, 0, data(2, Ecn::Ect0)),
        Some((3, vec![], true))
    );
    assert_eq!(answer(&mut r, 0, with_cwr(3, Ecn::Ce)), None);
    assert_eq!(
        answer(&mut r, 0, data(4, Ecn::Ect0)),
        Some((5, vec![], true))
    );
    assert_eq!(
        answer(&mut r, 0, with_cwr(5, Ecn::Ect0)),
        Some((6, vec![], false))
    );
    assert_eq!(answer(&mut r, 0, data(6, Ecn::Ect0)), None);
}

/// The end of a flow is not delayed.
#[test]
fn end_is_acknowledged_at_once() {
    let config = FlowConfig {
        bytes: Some(u64::from(MSS)),
        ..FlowConfig::new(1, Cc::Cubic)
    };
    let mut r = receiver(&config);
    assert_eq!(
        answer(&mut r, 5, data(0, Ecn::Ect0)),
        Some((1, vec![], false))
    );
    assert_eq!(r.stats().finished_ns, Some(5));
}
