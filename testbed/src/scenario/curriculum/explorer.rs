//! An engine that decides at random.

use std::num::NonZeroU32;

use l4sllm_abi::{Action, Factor, Factors, Record, Steer};
use l4sllmd::{Decision, Engine};

use super::noise::NoiseMode;
use crate::sim::Random;

/// The decision of an explorer.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// This action.
    Act(Action),
    /// Factors drawn from a [`NoiseMode::Steer`].
    Steer(NoiseMode),
}

/// Overrides a share of the decisions; DualPI2 makes the others.
pub(super) struct Explorer {
    interval: u32,
    seen: u32,
    share: f64,
    act: Move,
    steer: Option<Steer>,
    steer_until_ns: u64,
    random: Random,
}

impl Explorer {
    pub(super) fn new(interval: NonZeroU32, share: f64, act: Move, random: Random) -> Explorer {
        Explorer {
            interval: interval.get(),
            seen: 0,
            share,
            act,
            steer: None,
            steer_until_ns: 0,
            random,
        }
    }

    /// Factors, redrawn when the current ones expire.
    fn steer(&mut self, now_ns: u64) -> Option<Steer> {
        let Move::Steer(NoiseMode::Steer {
            hold_ns,
            factors,
            gain,
        }) = &self.act
        else {
            return None;
        };
        if now_ns >= self.steer_until_ns {
            let random = &mut self.random;
            let given = Factors::read(|key| {
                let range = match key {
                    "target" => &factors.target,
                    "threshold" => &factors.threshold,
                    "coupling" => &factors.coupling,
                    "gain" => gain,
                    "alpha" => &factors.alpha,
                    "beta" => &factors.beta,
                    _ => &factors.tupdate,
                };
                let range = range.as_ref();
                range
                    .map(|range| Factor::new(range.draw(random)))
                    .transpose()
            });
            self.steer = given.and_then(Steer::new).ok();
            self.steer_until_ns = now_ns.saturating_add(hold_ns.draw_whole(random));
        }
        self.steer
    }
}

impl Engine for Explorer {
    fn observe(&mut self, record: &Record) -> Option<Decision> {
        self.seen += 1;
        if self.seen < self.interval {
            return None;
        }
        self.seen = 0;
        match self.act {
            Move::Act(action) => {
                let mut probabilities = [0.0; 3];
                probabilities[0] = 1.0 - self.share as f32;
                probabilities[action as usize] += self.share as f32;
                (self.random.unit() < self.share).then_some(Decision::Action {
                    action,
                    probabilities,
                })
            }
            // Resent while it lasts, because an override expires after a
            // second.
            Move::Steer(_) => self.steer(record.time_ns()).map(Decision::Steer),
        }
    }

    fn reset(&mut self) {
        self.seen = 0;
    }
}
