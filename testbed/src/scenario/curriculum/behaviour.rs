//! Behaviours of an episode: settings of DualPI2, a controller, or random
//! overrides.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use l4sllm_abi::{Params, raw};
use l4sllm_model::Gains;
use l4sllmd::OverrideMode;

use super::explorer::{Explorer, Move};
use super::noise::{MAX_HOLD, MAX_INTERVAL, Noise, NoiseMode};
use super::range::{Range, pick};
use crate::control::EngineFactory;
use crate::scenario::{Aqm, Arm, Control};
use crate::sim::{Random, derive_seed};

/// A kind of behaviour, with ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Name.
    pub name: String,
    /// Relative frequency.
    pub weight: f64,
    /// Set-point of the controller, ns.
    pub target_ns: Range,
    /// The controller's period, ns.
    pub tupdate_ns: Range,
    /// Factor on both of RFC 9332's gains.
    pub gain: Range,
    /// Factor on its alpha, instead of `gain`.
    pub alpha: Option<Range>,
    /// Factor on its beta, instead of `gain`.
    pub beta: Option<Range>,
    /// Coupling factor k.
    pub coupling: Range,
    /// Native L4S threshold, ns.
    pub l4s_threshold_ns: Range,
    /// Whether signals are weighted by flow rates.
    pub flow_weights: bool,
    /// Random overrides.
    pub noise: Option<Noise>,
    /// The controller in the loop.
    pub controller: Option<Controller>,
}

/// A controller in the loop, with ranges.
#[derive(Debug, Clone, PartialEq)]
pub enum Controller {
    /// A policy.
    Policy {
        /// Its directory.
        dir: PathBuf,
        /// Records between two decisions.
        interval: Range,
    },
    /// A controller without ranges: the adaptive rule.
    Fixed(Control),
}

/// A behaviour with its values drawn.
pub struct Drawn {
    /// Name of the kind.
    pub name: String,
    /// The queue's parameters.
    pub params: Params,
    /// Factors on RFC 9332's gains.
    pub gains: Gains,
    /// Kind of noise: `once`, `hold`, `steer`.
    pub noise: Option<&'static str>,
    /// Records between two decisions of the noise or the policy.
    pub interval: Option<u32>,
    /// Share of the decisions that become overrides.
    pub share: Option<f64>,
    /// The arm that runs in the emulator.
    pub arm: Arm,
    /// The engine of the noise; that of a policy or rule is made from
    /// `arm.control`.
    pub engine: Option<EngineFactory>,
}

impl Behaviour {
    /// Plain DualPI2 with a target of 5 to 25 ms and gains of 0.5 to 8 times
    /// the default.
    pub fn dualpi2(name: &str) -> Behaviour {
        let base = Params::default();
        Behaviour {
            name: name.to_owned(),
            weight: 1.0,
            target_ns: Range::LogUniform(5e6, 25e6),
            tupdate_ns: Range::Fixed(base.tupdate_ns as f64),
            gain: Range::LogUniform(0.5, 8.0),
            alpha: None,
            beta: None,
            coupling: Range::Fixed(f64::from(base.coupling_q8) / 256.0),
            l4s_threshold_ns: Range::Fixed(base.l4s_threshold_ns as f64),
            flow_weights: base.flow_weights,
            noise: None,
            controller: None,
        }
    }

    /// Draws it for an episode with this seed.
    pub fn draw(&self, seed: u64) -> Drawn {
        let random = &mut Random::stream(seed, "behaviour");
        let base = Params::default();
        let gain = self.gain.draw(random);
        let mut params = Params {
            target_ns: self.target_ns.draw_whole(random),
            coupling_q8: (self.coupling.draw(random) * 256.0).round() as u32,
            l4s_threshold_ns: self.l4s_threshold_ns.draw_whole(random),
            flow_weights: self.flow_weights,
            ..base
        };
        let mut own = |range: &Option<Range>| range.as_ref().map_or(gain, |r| r.draw(random));
        let gains = Gains {
            alpha: own(&self.alpha),
            beta: own(&self.beta),
        };
        params.alpha_uhz = (f64::from(base.alpha_uhz) * gains.alpha).round() as u32;
        params.beta_uhz = (f64::from(base.beta_uhz) * gains.beta).round() as u32;
        params.tupdate_ns = self.tupdate_ns.draw_whole(random);
        let mut drawn = Drawn {
            name: self.name.clone(),
            params,
            gains,
            noise: None,
            interval: None,
            share: None,
            arm: Arm::dualpi2(&self.name, params),
            engine: None,
        };
        match (&self.controller, &self.noise) {
            (Some(Controller::Policy { dir, interval }), _) => {
                let interval = records(interval, random);
                drawn.interval = Some(interval.get());
                drawn.arm.control = Some(Control::new(dir, interval));
            }
            (Some(Controller::Fixed(control)), _) => {
                drawn.arm.control = Some(control.clone());
            }
            (None, Some(noise)) => {
                noise.draw(random, derive_seed(seed, "noise", 0), &mut drawn);
            }
            (None, None) => {}
        }
        drawn
    }
}

impl Noise {
    fn draw(&self, random: &mut Random, seed: u64, drawn: &mut Drawn) {
        let interval = records(&self.interval, random);
        let share = self.share.draw(random);
        let mut control = Control::new(Path::new(""), interval);
        let act = match &self.mode {
            NoiseMode::Once { actions } => Move::Act(pick(actions, random)),
            NoiseMode::Hold { actions, packets } => {
                let packets = packets.draw_whole(random).clamp(1, MAX_HOLD) as u32;
                control.mode =
                    OverrideMode::Hold(NonZeroU32::new(packets).unwrap_or(NonZeroU32::MIN));
                Move::Act(pick(actions, random))
            }
            NoiseMode::Steer { .. } => Move::Steer(self.mode.clone()),
        };
        if let Aqm::DualPi2(dualpi2) = &mut drawn.arm.aqm {
            // The noise is the experiment's own, not a policy's.
            dualpi2.limits.mark_share = raw::L4S_FACTOR_ONE;
        }
        drawn.noise = Some(self.mode.name());
        drawn.interval = Some(interval.get());
        drawn.share = (!matches!(self.mode, NoiseMode::Steer { .. })).then_some(share);
        drawn.arm.control = Some(control);
        drawn.engine = Some(EngineFactory::on_records(move |_| {
            let random = Random::stream(seed, "explorer");
            Box::new(Explorer::new(interval, share, act.clone(), random))
        }));
    }
}

/// Records between two decisions.
fn records(interval: &Range, random: &mut Random) -> NonZeroU32 {
    let records = interval.draw_whole(random).clamp(1, MAX_INTERVAL) as u32;
    NonZeroU32::new(records).unwrap_or(NonZeroU32::MIN)
}
