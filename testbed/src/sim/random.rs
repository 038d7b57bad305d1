//! Seeded random numbers: named, independent streams from one seed.

use l4sllm_model::{GOLDEN, SplitMix64};

/// xoshiro256++ (Blackman and Vigna), seeded through SplitMix64.
///
/// Implemented here so that a seed gives the same run regardless of crate
/// versions.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream called `name` of `seed`. Different names are independent: a
    /// draw from one does not move another.
    pub fn stream(seed: u64, name: &str) -> Random {
        let mixed = SplitMix64::new(seed ^ fnv1a(name.as_bytes())).next_u64();
        // Mixed again, so that seed and name do not cancel each other out.
        let mut state = SplitMix64::new(mixed ^ seed.rotate_left(32));
        Random {
            state: std::array::from_fn(|_| state.next_u64()),
        }
    }

    /// Uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift (Lemire); the bias is below bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponentially distributed with the given mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // 1 - unit() is in (0, 1]: the logarithm is finite.
        -mean * (1.0 - self.unit()).ln()
    }

    /// Normally distributed with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// A seed for number `index` of part `name` of a run with seed `seed`.
pub fn derive_seed(seed: u64, name: &str, index: u64) -> u64 {
    let state = seed ^ fnv1a(name.as_bytes()).wrapping_add(index.wrapping_mul(GOLDEN));
    SplitMix64::new(state).next_u64()
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, name| {
            let mut random = Random::stream(seed, name);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(derive_seed(1, "a", 0), derive_seed(1, "a", 1));
    }

    #[test]
    fn moments() {
        let mut random = Random::stream(7, "moments");
        let n = 200_000;
        let uniform: f64 = (0..n).map(|_| random.unit()).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.003, "{uniform}");
        let exponential: f64 = (0..n).map(|_| random.exponential(3.0)).sum::<f64>() / f64::from(n);
        assert!((exponential - 3.0).abs() < 0.03, "{exponential}");
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.015,
            "{mean} {variance}"
        );
        assert!((0..1000).all(|_| random.below(10) < 10));
        assert_eq!(random.below(0), 0);
    }
}
