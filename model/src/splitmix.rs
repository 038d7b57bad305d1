//! SplitMix64 (Steele, Lea and Flood, 2014): the only small generator of the
//! workspace. It is implemented here so that a seed gives the same numbers
//! regardless of crate versions.

/// The golden ratio's odd fixed-point fraction, the step of the state.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seeded stream of numbers with a one-word state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Creates the stream with this seed or with a state from
    /// [`SplitMix64::state`].
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The argument with which [`SplitMix64::new`] continues this stream.
    pub fn state(&self) -> u64 {
        self.0
    }

    /// Uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's values with seed 1234567.
    #[test]
    fn reference_values() {
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
        let state = random.state();
        assert_eq!(SplitMix64::new(state).next_u64(), random.next_u64());
    }
}
