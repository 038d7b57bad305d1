//! The network: `kmod/student.c` to the bit.

use l4sllm_abi::{Limits, Params, raw};

use super::fixed;
use super::signals::StudentState;
use super::{Student, StudentInput, StudentUnit};

/// Outputs: target, alpha, beta and k.
pub const OUTPUTS: usize = raw::L4S_STUDENT_OUTPUTS as usize;

const CLIP: i64 = raw::L4S_STUDENT_CLIP as i64;

impl Student {
    /// The network's inputs for a state, Q9.
    pub fn inputs_of(&self, state: &StudentState) -> Vec<i16> {
        let input = |of: &StudentInput| {
            let signal = state.signal(of.signal, of.scale);
            let x = ((i64::from(signal) - i64::from(of.mean)) * i64::from(of.gain)) >> 16;
            x.clamp(-CLIP, CLIP) as i16
        };
        self.inputs.iter().map(input).collect()
    }

    /// Base-2 logarithms of the set-points, Q16: target in ns, alpha and beta in 1e-6
    /// Hz, k in Q8.
    pub fn outputs(&self, state: &StudentState) -> [i32; OUTPUTS] {
        self.forward(&self.inputs_of(state))
    }

    /// The outputs for normalised inputs.
    pub fn forward(&self, inputs: &[i16]) -> [i32; OUTPUTS] {
        let mut x = inputs.to_vec();
        for layer in 0..2 {
            let sums = self.layer(layer, &x);
            x = sums.into_iter().map(fixed::tanh).collect();
        }
        let y = self.layer(2, &x);
        std::array::from_fn(|i| y[i].min(self.bounds[i].1).max(self.bounds[i].0))
    }

    fn layer(&self, layer: usize, x: &[i16]) -> Vec<i32> {
        let rows = self.weights[layer].chunks_exact(x.len());
        let unit = |(row, unit): (&[i8], &StudentUnit)| {
            let product = |(w, x): (&i8, &i16)| i32::from(*w) * i32::from(*x);
            let sum: i32 = row.iter().zip(x).map(product).sum();
            unit.bias + ((i64::from(sum) * i64::from(unit.scale)) >> 24) as i32
        };
        rows.zip(&self.units[layer]).map(unit).collect()
    }

    /// The steer override for a state: factors on the parameters' set-points, within
    /// the limits.
    pub fn decide(
        &self,
        state: &StudentState,
        params: &Params,
        limits: &Limits,
    ) -> raw::l4s_override {
        let y = self.outputs(state);
        let tupdate = match y[0] < self.slow_from {
            true => self.tupdate_ns,
            false => self.slow_tupdate_ns,
        };
        factors(&y, tupdate, params, limits)
    }
}

/// The steer override that results in set-points with these logarithms.
pub fn factors(
    y: &[i32; OUTPUTS],
    tupdate_ns: u64,
    params: &Params,
    limits: &Limits,
) -> raw::l4s_override {
    let factor = |log: i32, base: u64, least: u32, most: u32| match base {
        0 => 0,
        _ => fixed::exp2(log - fixed::log2(base)).min(most).max(least),
    };
    let (low, high) = (limits.factor_min, limits.factor_max);
    let (gain_low, gain_high) = (limits.gain_min, limits.gain_max);
    let period = (tupdate_ns << 16) / params.tupdate_ns;
    let mut o = raw::l4s_override {
        version: raw::L4S_ABI_VERSION as u16,
        mode: raw::L4S_MODE_STEER as u8,
        length: size_of::<raw::l4s_override>() as u32,
        queue: raw::L4S_QUEUE_ANY as u8,
        target: factor(y[0], params.target_ns, low, high),
        alpha: factor(y[1], u64::from(params.alpha_uhz), gain_low, gain_high),
        beta: factor(y[2], u64::from(params.beta_uhz), gain_low, gain_high),
        coupling: factor(y[3], u64::from(params.coupling_q8), low, high),
        tupdate: period.min(u64::from(high)).max(u64::from(low)) as u32,
        ..Default::default()
    };
    let mut set = raw::L4S_STEER_TARGET | raw::L4S_STEER_COUPLING | raw::L4S_STEER_TUPDATE;
    if o.alpha != 0 {
        set |= raw::L4S_STEER_ALPHA;
    }
    if o.beta != 0 {
        set |= raw::L4S_STEER_BETA;
    }
    o.steer_set = set as u8;
    o
}
