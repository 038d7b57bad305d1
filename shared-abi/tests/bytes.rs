//! Conversions of bytes: accepted values survive unchanged, and no input causes a
//! panic.

#![allow(clippy::unwrap_used)]

use std::num::{NonZeroU32, NonZeroU64};

use l4sllm_abi::bytes::{Plain, as_bytes, from_bytes};
use l4sllm_abi::{
    AbiError, Action, Decoder, Event, EventCode, Factor, Factors, Limits, MESSAGE_SIZE, Message,
    Mode, Override, Params, Queue, Queues, Record, Refusal, Reply, Request, Stats, Steer, Stream,
    Summary, V1_SIZE, Version, header, raw,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_bytes_are_rejected_or_round_trip(bytes in any::<[u8; MESSAGE_SIZE]>()) {
        prop_assert!(Message::from_bytes(&bytes).is_ok_and(|m| m.to_bytes() == bytes)
            || Message::from_bytes(&bytes).is_err());
    }

    #[test]
    fn damaged_messages_are_rejected_or_round_trip(
        message in message(),
        damage in prop::collection::vec((0..MESSAGE_SIZE, any::<u8>()), 0..4),
    ) {
        let mut bytes = message.to_bytes();
        for (at, value) in damage {
            bytes[at] = value;
        }
        if let Ok(read) = Message::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn reads_messages_of_version_1(message in message()) {
        // Records are written in this form; losses and events had zeros up to the
        // same length.
        let mut bytes = message.to_bytes();
        bytes.resize(V1_SIZE, 0);
        bytes[..2].copy_from_slice(&1u16.to_ne_bytes());
        bytes[4..8].copy_from_slice(&(V1_SIZE as u32).to_ne_bytes());
        if let Message::Loss { .. } = message {
            bytes[32..36].fill(0); // there was one stream
        }
        let read = Message::from_bytes(&bytes).unwrap();
        prop_assert_eq!(read.place(), message.place());
        if let Message::Event(_) = message {
            prop_assert_eq!(read, message);
        }
        bytes[V1_SIZE - 1] = 1;
        if !matches!(message_kind(&bytes), raw::L4S_RECORD_DECISION) {
            prop_assert!(Message::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn messages_round_trip(stream in prop::collection::vec(message(), 0..8)) {
        let bytes: Vec<u8> = stream.iter().flat_map(Message::to_bytes).collect();
        let read: Result<Vec<_>, _> = Decoder::new().messages(&bytes).collect();
        prop_assert_eq!(read.unwrap(), stream);
    }

    #[test]
    fn each_message_of_a_mixed_stream_has_its_own_length(
        stream in prop::collection::vec(prop_oneof![message(), summary()], 0..8),
        cut in 1..MESSAGE_SIZE,
    ) {
        let mut bytes: Vec<u8> = stream.iter().flat_map(Message::to_bytes).collect();
        let read: Result<Vec<_>, _> = Decoder::new().messages(&bytes).collect();
        prop_assert_eq!(read.unwrap(), stream.clone());
        bytes.truncate(bytes.len().saturating_sub(cut));
        let read: Vec<_> = Decoder::new().messages(&bytes).collect();
        prop_assert_eq!(read.len(), stream.len());
        let cut = read.last().is_none_or(|last| matches!(last, Err(AbiError::Length { .. })));
        prop_assert!(cut);
    }

    #[test]
    fn truncated_stream_yields_whole_messages_and_one_error(
        stream in prop::collection::vec(message(), 1..5),
        cut in 1..MESSAGE_SIZE,
    ) {
        let mut bytes: Vec<u8> = stream.iter().flat_map(Message::to_bytes).collect();
        bytes.truncate(bytes.len() - cut);
        let read: Vec<_> = Decoder::new().messages(&bytes).collect();
        prop_assert_eq!(read.len(), stream.len());
        for (read, sent) in read.iter().zip(&stream[..stream.len() - 1]) {
            prop_assert_eq!(read.as_ref().unwrap(), sent);
        }
        let whole = stream.last().unwrap().to_bytes().len();
        let got = whole - cut;
        // With less than a header, the length is unknown.
        let want = if got < 24 { MESSAGE_SIZE } else { whole };
        let what = "message";
        prop_assert_eq!(read.last().unwrap(), &Err(AbiError::Length { what, got, want }));
    }

    #[test]
    fn overrides_round_trip(order in order()) {
        prop_assert_eq!(Override::from_bytes(&order.to_bytes()).unwrap(), order);
    }

    #[test]
    fn damaged_overrides_are_rejected_or_round_trip(
        order in order(), at in 0..64usize, value: u8,
    ) {
        let mut bytes = order.to_bytes();
        bytes[at] = value;
        if let Ok(read) = Override::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn damaged_structs_are_rejected_or_round_trip(at in 0..900usize, value: u8) {
        let params = Params::paper().to_raw().unwrap();
        if let Some(Ok(read)) = damaged(&params, at, value).map(Params::try_from) {
            prop_assert_eq!(read.to_raw().unwrap(), damaged(&params, at, value).unwrap());
        }
        let limits = Limits::default().to_raw().unwrap();
        if let Some(Ok(read)) = damaged(&limits, at, value).map(Limits::try_from) {
            prop_assert_eq!(read.to_raw().unwrap(), damaged(&limits, at, value).unwrap());
        }
        // Only checked for panics: they normalise text and have no range.
        let _ = damaged(&Version::answer("0.1.0"), at, value).map(Version::try_from);
        let _ = damaged(&Stats::question(1, 0), at, value).map(Stats::try_from);
        let _ = damaged(&Queues::question(1, 0), at, value).map(Queues::try_from);
    }

    #[test]
    fn arbitrary_frames_are_rejected_or_round_trip(frame in any::<[u8; 16]>(), damage in 0..16usize) {
        let sent = Request { op: 3, tag: 77, length: 16 }.to_bytes();
        let mut request = sent;
        request[damage] = frame[damage];
        for bytes in [frame, request] {
            if let Ok(read) = Request::from_bytes(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
            if let Ok(read) = Reply::from_bytes(&bytes, 1000) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn factors_round_to_nearest_q16(factor in 0.0001..1000.0f64) {
        let error = (Factor::new(factor).unwrap().as_f64() - factor).abs();
        prop_assert!(error <= 0.5 / 65536.0);
    }
}

#[test]
fn errors_name_struct_field_value_and_expectation() {
    let mut bad = decision(1, 2);
    bad.reason = raw::L4S_REASON_COUNT as u8;
    let error = Record::try_from(bad).unwrap_err().to_string();
    assert!(
        error.starts_with("l4s_record.reason: 13 is out of range, expected one of"),
        "{error}"
    );

    bad = decision(1, 2);
    bad.hdr.version = 7;
    let error = Record::try_from(bad).unwrap_err().to_string();
    assert_eq!(error, "l4s_header: version 7, this side supports 1 to 4");

    let params = Params {
        tupdate_ns: 99_999,
        ..Params::default()
    };
    let error = params.to_raw().unwrap_err().to_string();
    assert_eq!(
        error,
        "l4s_params.tupdate_ns: 99999 is out of range, expected 100 us..=1 s"
    );
}

#[test]
fn enforces_each_range_of_the_header() {
    type Change = fn(&mut Params);
    let refused: [(&str, Change); 12] = [
        ("target_ns", |p| p.target_ns = 999),
        ("target_ns", |p| p.target_ns = 5_000_000_001),
        ("tupdate_ns", |p| p.tupdate_ns = 1_000_000_001),
        ("l4s_threshold_ns", |p| p.l4s_threshold_ns = 1_000_000_001),
        ("l4s_range_ns", |p| p.l4s_range_ns = 0),
        ("max_burst_ns", |p| p.max_burst_ns = 10_000_000_001),
        ("coupling_q8", |p| p.coupling_q8 = 255),
        ("coupling_q8", |p| p.coupling_q8 = 65_536),
        ("limit_packets", |p| p.limit_packets = 0),
        ("max_ecnth", |p| p.max_ecnth = 1 << 31),
        ("limit_bytes", |p| p.limit_bytes = 1_499),
        ("classic_weight", |p| p.classic_weight = 101),
    ];
    for (field, change) in refused {
        let mut params = Params::default();
        change(&mut params);
        match params.to_raw() {
            Err(AbiError::Range { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    for profile in [Params::default(), Params::tuned(), Params::paper()] {
        assert_eq!(
            Params::try_from(profile.to_raw().unwrap()).unwrap(),
            profile
        );
    }
    let refused: [fn(&mut Limits); 4] = [
        |l| l.factor_min = 65_537,
        |l| l.factor_max = 65_535,
        |l| l.gain_min = 0,
        |l| l.gain_max = 65_535,
    ];
    for change in refused {
        let mut limits = Limits::default();
        change(&mut limits);
        assert!(limits.to_raw().is_err(), "{limits:?}");
    }
}

/// The default ranges in files are the factors that the default limits allow.
#[test]
fn default_limits_allow_the_factors_of_files() {
    let limits = Limits::default();
    for key in [
        "target",
        "threshold",
        "coupling",
        "gain",
        "alpha",
        "beta",
        "tupdate",
    ] {
        let (files, device) = (Limits::default_factors(key), limits.factors(key));
        assert_eq!(files, device, "{key}");
    }
    let given = |key| match key {
        "gain" => Ok(Some(1)),
        "beta" => Ok(Some(2)),
        _ => Ok::<_, ()>(None),
    };
    let read = Factors::read(given).unwrap();
    let want = Factors {
        alpha: Some(1),
        beta: Some(2),
        ..Factors::NONE
    };
    assert_eq!(read, want);
}

#[test]
fn an_incompatible_device_is_distinguished_from_a_broken_one() {
    let newer = raw::l4s_version {
        min: 8,
        max: 9,
        record_size: 999,
        ..Default::default()
    };
    assert!(!Version::try_from(newer).unwrap().is_compatible());
    let wider = raw::l4s_version {
        min: 1,
        max: 9,
        ..Version::answer("x")
    };
    assert!(Version::try_from(wider).unwrap().is_compatible());
    let lying = raw::l4s_version {
        record_size: 160,
        ..Version::answer("x")
    };
    assert!(Version::try_from(lying).is_err());
    let backwards = raw::l4s_version {
        min: 2,
        max: 1,
        ..Version::answer("x")
    };
    assert!(Version::try_from(backwards).is_err());
    let endless = raw::l4s_version {
        module: [b'x' as _; 32],
        ..Version::answer("x")
    };
    assert!(Version::try_from(endless).is_err());
    let long = Version::try_from(Version::answer(&"y".repeat(50))).unwrap();
    assert_eq!(long.module, "y".repeat(31));
}

#[test]
fn refusals_use_interface_error_numbers() {
    for refusal in Refusal::ALL {
        let reply = Reply {
            op: 4,
            tag: 5,
            result: Err(*refusal),
        };
        assert_eq!(Reply::from_bytes(&reply.to_bytes(), 0).unwrap(), reply);
    }
    let long = Reply {
        op: 64,
        tag: 5,
        result: Ok(169),
    };
    assert!(Reply::from_bytes(&long.to_bytes(), 168).is_err());
}

#[test]
fn names_imbalanced_counters() {
    let mut stats = Stats::question(0, 0);
    (stats.packets_in, stats.forwarded, stats.queued) = (10, 7, 3);
    assert_eq!(Stats::try_from(stats).unwrap().imbalance(), None);
    stats.queued = 4;
    assert_eq!(
        Stats::try_from(stats).unwrap().imbalance(),
        Some(("packets_in", 10, 11))
    );
}

/// `value` with one byte changed; `None` past its end.
fn damaged<T: Plain>(value: &T, at: usize, byte: u8) -> Option<T> {
    let mut bytes = as_bytes(value).to_vec();
    *bytes.get_mut(at)? = byte;
    Some(from_bytes(&bytes).unwrap())
}

/// The type in a message's header.
fn message_kind(bytes: &[u8]) -> u32 {
    bytes[2].into()
}

fn decision(seq: u64, time_ns: u64) -> raw::l4s_record_v1 {
    raw::l4s_record_v1 {
        hdr: header(raw::L4S_RECORD_DECISION, seq, time_ns),
        ..Default::default()
    }
}

prop_compose! {
    fn record()(
        seq: u64, time_ns: u64, sched: u32, sojourn_ns: u64, queue in 0..2u8, action in 0..3u8,
        base in 0..3u8, reason in 0..10u8, ecn in 0..4u8, status in 0..64u16,
        probability in 0..=raw::L4S_PROB_ONE, accumulated: u64, length: u32,
    ) -> Record {
        Record::try_from(raw::l4s_record_v1 {
            sched, sojourn_ns, queue_type: queue, dequeue_action: action, base_action: base,
            reason, ecn, status, drop_probability: probability,
            accumulated_probability: accumulated, packet_length: length,
            ..decision(seq, time_ns)
        })
        .unwrap()
    }
}

fn message() -> impl Strategy<Value = Message> {
    let loss =
        (any::<u64>(), any::<u64>(), 1..u64::MAX).prop_map(|(seq, time_ns, lost)| Message::Loss {
            seq,
            time_ns,
            lost,
            stream: Stream::Records,
        });
    let event = (
        any::<[u64; 3]>(),
        any::<[u32; 2]>(),
        prop::sample::select(EventCode::ALL),
    )
        .prop_map(|([seq, time_ns, value], [sched, instance], code)| {
            Message::Event(Event {
                seq,
                time_ns,
                sched,
                instance,
                code,
                value,
            })
        });
    prop_oneof![4 => record().prop_map(Message::Decision), 1 => loss, 1 => event]
}

prop_compose! {
    fn summary()(seq: u64, begin_ns in 0..1000u64, idle_ns in 0..1000u64, p in 0..100u32) -> Message {
        let summary = Summary::try_from(raw::l4s_summary {
            hdr: header(raw::L4S_RECORD_SUMMARY, seq, begin_ns + 1000),
            begin_ns,
            idle_ns,
            p_end: p,
            target_ns: 1,
            tupdate_ns: 1,
            ..Default::default()
        });
        Message::Summary(Box::new(summary.unwrap()))
    }
}

prop_compose! {
    fn order()(
        sched: u32, instance: u32, id in 1..=u64::MAX, based_on: u64, expires_ns: u64,
        mode in mode(),
    ) -> Override {
        Override { sched, instance, id: NonZeroU64::new(id).unwrap(), based_on, expires_ns, mode }
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    let action = || prop::sample::select(Action::ALL);
    let queue = || prop::option::of(prop::sample::select(Queue::ALL));
    let factor =
        || prop::option::of((1..=u32::MAX).prop_map(|f| NonZeroU32::new(f).unwrap().into()));
    let six = (factor(), factor(), factor(), factor(), factor(), factor());
    let steer = six.prop_filter_map("no factor", |six| {
        let (target, threshold, coupling, alpha, beta, tupdate) = six;
        let factors = Factors {
            target,
            threshold,
            coupling,
            alpha,
            beta,
            tupdate,
        };
        Steer::new(factors).ok()
    });
    prop_oneof![
        (action(), queue()).prop_map(|(action, queue)| Mode::Once { action, queue }),
        (action(), queue(), 1..=u32::MAX).prop_map(|(action, queue, packets)| Mode::Hold {
            action,
            queue,
            packets: NonZeroU32::new(packets).unwrap(),
        }),
        steer.prop_map(Mode::Steer),
    ]
}
