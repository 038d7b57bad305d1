use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::AtomicUsize;

use l4sllm_abi::bytes::{as_bytes, from_bytes};
use l4sllm_abi::raw::{
    L4S_RECORD_DECISION, L4S_RECORD_SUMMARY, l4s_header, l4s_limits, l4s_params, l4s_record,
    l4s_summary,
};
use l4sllm_abi::{Decoder, Factors, MESSAGE_SIZE, Message, Mode, Override, Reason, Steer, Summary};

use super::*;

const MS: u64 = 1_000_000;

fn router(ring_records: u32) -> Router {
    Router::new(&Params::default(), &Limits::default(), ring_records, 1).unwrap()
}

fn packet(cookie: u64, ecn: Ecn) -> Packet {
    Packet {
        cookie,
        flow: 0,
        bytes: 1500,
        ecn,
        dscp: 0,
    }
}

/// Available messages, except context.
fn read_all(handle: &mut Handle, decoder: &mut Decoder, now_ns: u64) -> Vec<Message> {
    let mut buffer = vec![0; 100 * MESSAGE_SIZE];
    let got = handle.read(&mut buffer, now_ns).unwrap();
    let messages = decoder.messages(&buffer[..got]).map(Result::unwrap);
    let of_use = |message: &Message| !matches!(message, Message::Context(_));
    messages.filter(of_use).collect()
}

/// The kernel's profiles equal the interface crate's.
#[test]
fn profiles_agree() {
    type Fill = unsafe extern "C" fn(*mut l4s_params);
    let profiles: [(Fill, Params); 3] = [
        (ffi::l4s_user_params_default, Params::default()),
        (ffi::l4s_user_params_tuned, Params::tuned()),
        (ffi::l4s_user_params_paper, Params::paper()),
    ];
    for (fill, expected) in profiles {
        let mut raw = l4s_params::default();
        // SAFETY: `raw` is a live l4s_params.
        unsafe { fill(&mut raw) };
        assert_eq!(Params::try_from(raw).unwrap(), expected);
    }
    let mut raw = l4s_limits::default();
    // SAFETY: `raw` is a live l4s_limits.
    unsafe { ffi::l4s_user_limits_default(&mut raw) };
    assert_eq!(Limits::try_from(raw).unwrap(), Limits::default());
}

#[test]
fn round_trip_times_derive_parameters() {
    let base = Params::tuned();
    let derived = params_for_rtt(&base, Some(15 * MS), Some(100 * MS)).unwrap();
    let expected = Params {
        target_ns: 15 * MS,
        tupdate_ns: 15 * MS,
        alpha_uhz: 150_000,
        beta_uhz: 3_000_000,
        ..base
    };
    assert_eq!(derived, expected);
    let longest = params_for_rtt(&base, None, Some(90 * MS)).unwrap();
    assert_eq!(longest.target_ns, 15 * MS);
    let error = params_for_rtt(&base, Some(20 * MS), Some(10 * MS)).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Invalid));
}

#[test]
fn packets_return_with_their_cookies() {
    let mut router = router(0);
    let mut drops = Vec::new();
    router.enqueue(0, packet(7, Ecn::Ect0), &mut drops);
    router.enqueue(0, packet(8, Ecn::Ect1), &mut drops);
    assert_eq!(
        router.backlog(),
        Backlog {
            packets: 2,
            bytes: 3000
        }
    );
    assert_eq!(router.backlog_of(Some(Queue::L4s)).packets, 1);
    let mut seen: Vec<_> = (0..3)
        .filter_map(|_| router.dequeue(100, &mut drops))
        .collect();
    seen.sort_by_key(|departure| departure.cookie);
    assert_eq!(seen.iter().map(|d| d.cookie).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(
        seen.iter().map(|d| d.queue).collect::<Vec<_>>(),
        [Queue::Classic, Queue::L4s]
    );
    assert!(seen.iter().all(|d| d.sojourn_ns == 100 && d.bytes == 1500));
    assert!(drops.is_empty());
}

#[test]
fn a_full_queue_drops_at_the_tail() {
    let params = Params {
        limit_packets: 20,
        ..Params::default()
    };
    let mut router = Router::new(&params, &Limits::default(), 0, 1).unwrap();
    let mut drops = Vec::new();
    for cookie in 0..50 {
        router.enqueue(0, packet(cookie, Ecn::NotEct), &mut drops);
    }
    assert_eq!(
        drops.iter().map(|drop| drop.cookie).collect::<Vec<_>>(),
        (20..50).collect::<Vec<_>>()
    );
    assert!(
        drops
            .iter()
            .all(|drop| drop.action == Action::Drop && drop.sojourn_ns == 0)
    );
    assert_eq!((router.stats().drops_tail, router.stats().queued), (30, 20));
}

#[test]
fn records_contain_the_action() {
    let mut router = router(64);
    let mut handle = router.open().unwrap();
    let mut drops = Vec::new();
    router.enqueue(0, packet(1, Ecn::Ect0), &mut drops);
    router.dequeue(5_000, &mut drops);
    let messages = read_all(&mut handle, &mut Decoder::new(), 5_000);
    let [Message::Decision(record)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!((record.sched, record.instance), (SCHED, INSTANCE));
    assert_eq!((record.sojourn_ns, record.packet_length), (5_000, 1500));
    assert_eq!(
        (record.action(), record.reason()),
        (Action::Enqueue, Reason::Base)
    );
    let stats = handle.stats(5_000).unwrap();
    // With a keyframe.
    assert_eq!((stats.records_written, stats.records_read), (5, 5));
    assert_eq!(stats.imbalance(), None);
}

/// Two flows, one with three times the other's rate: mu is 10 / 4 of the slower
/// rate, and the weights are 0.4, clamped to 0.5, and 1.2.
#[test]
fn records_contain_the_flow_weight() {
    let params = Params {
        flow_weights: true,
        ..Params::default()
    };
    let mut router = Router::new(&params, &Limits::default(), 64, 1).unwrap();
    let mut handle = router.open().unwrap();
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; MESSAGE_SIZE];
    let mut drops = Vec::new();
    let mut weights = Vec::new();
    for now_ns in (0..1000).map(|ms| ms * MS) {
        for flow in [1, 2, 1, 1] {
            let packet = Packet {
                flow,
                ..packet(0, Ecn::Ect0)
            };
            router.enqueue(now_ns, packet, &mut drops);
            router.dequeue(now_ns, &mut drops);
            weights.clear();
            while handle.read(&mut buffer, now_ns).unwrap() != 0 {
                if let Message::Decision(_) = decoder.decode(&buffer).unwrap() {
                    weights.push((flow, decoder.flow_weight()));
                }
            }
            if now_ns > 500 * MS {
                let [(_, Some(weight))] = weights[..] else {
                    panic!("{weights:?}")
                };
                let expected = if flow == 1 { 1.2 } else { 0.5 };
                assert!((weight - expected).abs() < 0.02, "{flow}: {weight}");
            }
        }
    }
    handle.control(1000 * MS).unwrap();
    handle.set_params(&Params::default(), 1000 * MS).unwrap();
    router.enqueue(1000 * MS, packet(0, Ecn::Ect0), &mut drops);
    router.dequeue(1000 * MS, &mut drops);
    while handle.read(&mut buffer, 1000 * MS).unwrap() != 0 {
        decoder.decode(&buffer).unwrap();
    }
    assert_eq!(decoder.flow_weight(), None);
    // An impossible queue is an error.
    let mut record = l4s_record {
        hdr: l4s_header {
            version: l4sllm_abi::VERSIONS.1,
            type_: L4S_RECORD_DECISION as u8,
            length: MESSAGE_SIZE as u32,
            ..Default::default()
        },
        weight: 128,
        ..Default::default()
    };
    assert!(decoder.decode(as_bytes(&record)).is_ok());
    for weight in [1, 31, 129] {
        record.weight = weight;
        let error = decoder.decode(as_bytes(&record)).unwrap_err().to_string();
        assert!(error.starts_with("l4s_record.weight: "), "{error}");
    }
}

#[test]
fn overrides_need_control() {
    let mut router = router(64);
    let mut controller = router.open().unwrap();
    let mut other = router.open().unwrap();
    let order = Override {
        sched: SCHED,
        instance: INSTANCE,
        id: NonZeroU64::MIN,
        based_on: 0,
        expires_ns: 100 * MS,
        mode: Mode::Hold {
            action: Action::Mark,
            queue: None,
            packets: NonZeroU32::MIN,
        },
    };
    assert_eq!(
        other.send(&order, 0).unwrap_err().refusal(),
        Some(Refusal::Permission)
    );
    controller.control(0).unwrap();
    assert_eq!(other.control(0).unwrap_err().refusal(), Some(Refusal::Busy));
    controller.send(&order, 0).unwrap();
    let mut drops = Vec::new();
    router.enqueue(0, packet(1, Ecn::Ect0), &mut drops);
    let departure = router.dequeue(0, &mut drops).unwrap();
    assert_eq!((departure.action, departure.ecn), (Action::Mark, Ecn::Ce));
    let late = Override {
        expires_ns: u64::MAX,
        ..order
    };
    assert_eq!(
        controller.send(&late, 0).unwrap_err().refusal(),
        Some(Refusal::BeyondLimits)
    );
    drop(controller);
    other.control(0).unwrap();
}

#[test]
fn parameters_and_limits_through_the_device() {
    let router = router(64);
    let mut handle = router.open().unwrap();
    assert_eq!(handle.params(0).unwrap(), Params::default());
    assert_eq!(handle.limits(0).unwrap(), Limits::default());
    handle.control(0).unwrap();
    handle.set_params(&Params::tuned(), 0).unwrap();
    assert_eq!(handle.params(0).unwrap(), Params::tuned());
}

/// A handle in another thread wakes, reads and outlives the router.
#[test]
fn a_reader_in_another_thread() {
    const PACKETS: u64 = 2_000;
    let mut router = router(4096);
    let mut handle = router.open().unwrap();
    handle
        .interval(l4sllm_abi::Interval::of_records(1), 0)
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    handle.on_ready(move || {
        // The reader may have ended already.
        let _ = sender.send(());
    });
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let reader = std::thread::spawn(move || {
        let mut decoder = Decoder::new();
        while counter.load(Ordering::Relaxed) < PACKETS as usize {
            receiver.recv().unwrap();
            let got = read_all(&mut handle, &mut decoder, 0).len();
            counter.fetch_add(got, Ordering::Relaxed);
        }
        handle
    });
    let mut drops = Vec::new();
    for cookie in 0..PACKETS {
        router.enqueue(cookie, packet(cookie, Ecn::Ect1), &mut drops);
        router.dequeue(cookie, &mut drops).unwrap();
    }
    drop(router);
    let mut handle = reader.join().unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), PACKETS as usize);
    assert_eq!(handle.ready(0), Readiness::At(None));
}

#[test]
fn device_refusals_are_errors() {
    let ring = Router::new(&Params::default(), &Limits::default(), 17, 1).unwrap_err();
    assert_eq!(ring.refusal(), Some(Refusal::Invalid));
    let params = Params {
        target_ns: 0,
        ..Params::default()
    };
    let params = Router::new(&params, &Limits::default(), 0, 1).unwrap_err();
    assert!(params.to_string().contains("target_ns"), "{params}");
    let router = router(16);
    let mut handle = router.open().unwrap();
    assert_eq!(
        handle.read(&mut [0; 10], 0).unwrap_err().refusal(),
        Some(Refusal::Invalid)
    );
    let steer = Steer::new(Factors::NONE);
    assert!(steer.is_err());
    assert_eq!(
        handle.request(9999, &mut [], 0).unwrap_err().refusal(),
        Some(Refusal::Unsupported)
    );
}

/// Numbers near the ends of the fields' ranges.
fn edges() -> impl proptest::strategy::Strategy<Value = u64> {
    use proptest::prelude::*;
    const ENDS: [u64; 18] = [
        0,
        1,
        3,
        100,
        256,
        1_000,
        1_500,
        65_535,
        65_536,
        100_000,
        1 << 20,
        1 << 24,
        1_000_000_000,
        i32::MAX as u64,
        u32::MAX as u64,
        5_000_000_000,
        10_000_000_000,
        u64::MAX / 2,
    ];
    (proptest::sample::select(&ENDS[..]), -2i64..=2)
        .prop_map(|(end, off)| end.saturating_add_signed(off))
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    })]

    /// The queue and the checked types accept the same parameters and limits.
    #[test]
    fn c_and_rust_accept_the_same_parameters_and_limits(
        numbers in proptest::collection::vec(edges(), 16),
        codes in proptest::collection::vec(0u8..4, 8),
        changed in 0usize..28,
    ) {
        let mut params = Params::default().to_raw().unwrap();
        let mut limits = Limits::default().to_raw().unwrap();
        let wide = |at: usize| numbers[at];
        // Masked, because most fields have 32 bits.
        let narrow = |at: usize| numbers[at] as u32;
        match changed {
            0 => params.target_ns = wide(0),
            1 => params.tupdate_ns = wide(1),
            2 => params.l4s_threshold_ns = wide(2),
            3 => params.l4s_range_ns = wide(3),
            4 => params.max_burst_ns = wide(4),
            5 => params.coupling_q8 = narrow(5),
            6 => params.limit_packets = narrow(6),
            7 => params.limit_bytes = narrow(7),
            8 => params.max_ecnth = narrow(8),
            9 => params.classic_weight = narrow(9) as u8,
            10 => params.dither = codes[0],
            11 => params.laqm = codes[1],
            12 => params.ecn = codes[2],
            13 => params.l4s_ecn = codes[3],
            14 => params.overflow = codes[4],
            15 => params.flow_weights = codes[5],
            16 => params.pad[0] = codes[6],
            17 => params.pad0 = codes[7].into(),
            18 => limits.max_hold = narrow(10),
            19 => limits.drop_share = narrow(11),
            26 => limits.mark_share = narrow(11),
            27 => limits.pad = codes[0].into(),
            20 => limits.factor_min = narrow(12),
            21 => limits.factor_max = narrow(13),
            22 => limits.gain_min = narrow(14),
            23 => limits.gain_max = narrow(15),
            24 => limits.pad0 = codes[0].into(),
            _ => limits.length += u32::from(codes[1]),
        }
        // SAFETY: both point to live structs.
        let (p, l) = unsafe { (ffi::l4s_params_check(&params), ffi::l4s_limits_check(&limits)) };
        proptest::prop_assert_eq!(Params::try_from(params).is_ok(), p == 0, "{:?}", params);
        proptest::prop_assert_eq!(Limits::try_from(limits).is_ok(), l == 0, "{:?}", limits);
    }

    /// The queue and its readers merge summaries in the same way, for any
    /// content.
    #[test]
    fn c_and_rust_merge_summaries_identically(
        bytes in proptest::array::uniform2(proptest::collection::vec(proptest::num::u8::ANY, 512)),
    ) {
        let summary = |bytes: &[u8], begin_ns, end_ns| {
            let s: l4s_summary = from_bytes(bytes).unwrap();
            Summary::try_from(l4s_summary {
                hdr: l4sllm_abi::header(L4S_RECORD_SUMMARY, s.hdr.seq, end_ns),
                begin_ns,
                idle_ns: s.idle_ns % 100,
                p_begin: s.p_begin >> 1,
                p_end: s.p_end >> 1,
                p_max: s.p_max >> 1,
                status: s.status & 0x3f,
                target_ns: s.target_ns | 1,
                tupdate_ns: s.tupdate_ns | 1,
                pad: 0,
                sched: 1,
                instance: 2,
                ..s
            })
            .unwrap()
        };
        let [earlier, later] = [summary(&bytes[0], 100, 200), summary(&bytes[1], 200, 300)];
        let mut in_c = *earlier.raw();
        // SAFETY: both point to live summaries.
        unsafe { ffi::l4s_summary_merge(&mut in_c, later.raw()) };
        let mut in_rust = earlier;
        in_rust.merge(&later);
        proptest::prop_assert_eq!(&in_c, in_rust.raw());
    }
}
