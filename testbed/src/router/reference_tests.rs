//! Compares filled-in records with the queue's own description of each decision
//! in version 1's format.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::num::{NonZeroU32, NonZeroU64};

use l4sllm_abi::raw::l4s_record_v1;
use l4sllm_abi::{Decoder, Factor, Factors, MESSAGE_SIZE, Message, Mode, Override, Steer};

use super::*;
use crate::sim::Random;

const MS: u64 = 1_000_000;

/// Decisions by position in the stream.
type References = HashMap<u64, l4s_record_v1>;

unsafe extern "C" fn keep(arg: *mut c_void, record: *const l4s_record_v1) {
    // SAFETY: `watch` passes its map, which outlives the router's use of it.
    let (references, record) = unsafe { (&mut *arg.cast::<References>(), *record) };
    references.insert(record.hdr.seq, record);
}

struct Case {
    router: Router,
    handle: Handle,
    decoder: Decoder,
    references: Box<References>,
    random: Random,
    now_ns: u64,
    compared: usize,
    lost: u64,
}

impl Case {
    fn new(params: Params, ring_records: u32, seed: u64) -> Case {
        let router = Router::new(&params, &Limits::default(), ring_records, seed).unwrap();
        let mut handle = router.open().unwrap();
        handle.control(0).unwrap();
        let mut references = Box::new(References::new());
        let arg = std::ptr::from_mut(&mut *references).cast();
        // SAFETY: the map outlives the router of the case.
        unsafe { ffi::l4s_user_tap(router.device.user.as_ptr(), Some(keep), arg) };
        Case {
            router,
            handle,
            decoder: Decoder::new(),
            references,
            random: Random::stream(seed, "reference"),
            now_ns: 0,
            compared: 0,
            lost: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.random.unit() * n as f64) as u64
    }

    fn step(&mut self) {
        let mut drops = Vec::new();
        self.now_ns += self.below(3 * MS);
        for cookie in 0..self.below(4) {
            let packet = Packet {
                cookie,
                flow: self.below(20) as u32,
                bytes: 60 + self.below(1440) as u32,
                ecn: Ecn::ALL[self.below(4) as usize],
                dscp: 0,
            };
            self.router.enqueue(self.now_ns, packet, &mut drops);
        }
        for _ in 0..self.below(4) {
            self.router.dequeue(self.now_ns, &mut drops);
        }
        match self.below(200) {
            0..4 => self.ask(),
            4 => {
                let params = Params {
                    target_ns: (1 + self.below(30)) * MS,
                    tupdate_ns: (1 + self.below(30)) * MS,
                    max_burst_ns: self.below(2) * 150 * MS,
                    flow_weights: self.below(2) == 1,
                    ..Params::default()
                };
                self.handle.set_params(&params, self.now_ns).unwrap();
            }
            _ => {}
        }
    }

    fn ask(&mut self) {
        let factor = |q16: u64| NonZeroU32::new(q16 as u32).map(Factor::from);
        let action = Action::ALL[self.below(3) as usize];
        let mode = match self.below(3) {
            0 => Mode::Once {
                action,
                queue: None,
            },
            1 => Mode::Hold {
                action,
                queue: Some(Queue::ALL[self.below(2) as usize]),
                packets: NonZeroU32::new(1 + self.below(50) as u32).unwrap(),
            },
            _ => Mode::Steer(
                Steer::new(Factors {
                    target: factor(16_384 + self.below(131_072)),
                    tupdate: factor(16_384 + self.below(131_072)),
                    beta: factor(16_384 + self.below(131_072)),
                    ..Factors::NONE
                })
                .unwrap(),
            ),
        };
        let order = Override {
            sched: SCHED,
            instance: INSTANCE,
            id: NonZeroU64::new(1 + self.below(1 << 40)).unwrap(),
            based_on: 0,
            expires_ns: self.now_ns + self.below(200 * MS) + 1,
            mode,
        };
        self.handle.send(&order, self.now_ns).unwrap();
    }

    /// Reads everything; checks that each record marked as exact is.
    fn compare(&mut self) {
        let mut buffer = vec![0; 64 * MESSAGE_SIZE];
        loop {
            let got = self.handle.read(&mut buffer, self.now_ns).unwrap();
            if got == 0 {
                return;
            }
            for message in buffer[..got].chunks(MESSAGE_SIZE) {
                match self.decoder.decode(message).unwrap() {
                    Message::Decision(record) => {
                        let reference = self.references.remove(&record.seq()).unwrap();
                        if self.decoder.is_exact() {
                            assert_eq!(*record.raw(), reference);
                            self.compared += 1;
                        }
                    }
                    Message::Loss { lost, .. } => self.lost += lost,
                    _ => {}
                }
            }
        }
    }
}

/// Without losses every record is exact, from the first one on.
#[test]
fn records_match_the_queues_description() {
    for seed in 1..=6 {
        let mut case = Case::new(Params::default(), 1 << 12, seed);
        for _ in 0..200 {
            for _ in 0..50 {
                case.step();
            }
            case.compare();
        }
        assert_eq!((case.lost, case.references.len()), (0, 0));
        assert!(case.compared > 10_000, "{}", case.compared);
    }
}

/// After a loss they are exact again from the next keyframe.
#[test]
fn records_are_exact_again_after_a_loss() {
    for seed in 1..=6 {
        let mut case = Case::new(Params::paper(), 64, seed);
        for round in 0..300 {
            for _ in 0..if round % 3 == 0 { 200 } else { 12 } {
                case.step();
            }
            case.compare();
        }
        assert!(case.lost > 1000, "{}", case.lost);
        assert!(case.compared > 1000, "{}", case.compared);
    }
}
