//! Arithmetic of the forward pass: packed matrices, norms, softmax, GELU.
//!
//! Everything here is `inline(always)` and generic over the processor, so that
//! the one forward pass is compiled once for each (see `forward::advance`).
//! Products use [`Vector`]; other loops are vectorised by the compiler, and run
//! over [`LANES`] where it must not reorder sums.

pub(crate) use super::vector::{LANES, Lane, Vector};

/// Rows of the widest tile.  Six rows of two registers, with one for the
/// broadcast and two for the panel, fill the sixteen registers of AVX2.
const TILE: usize = 6;

/// Panels of a product with one row.  Four panels of two registers leave eight for
/// the broadcast and the panels, and give an addition time to complete.
const WIDE: usize = 4;

/// A k × n matrix as ceil(n / 16) panels, each k × 16 and contiguous, so that
/// a product reads it once, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed {
    panels: Vec<Lane>, // [ceil(n / 16)][k][16]
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs a k × n matrix given by its elements.
    pub(crate) fn new(k: usize, n: usize, element: impl Fn(usize, usize) -> f32) -> Packed {
        let mut panels = vec![[0.0; LANES]; n.div_ceil(LANES) * k];
        for row in 0..k {
            for column in 0..n {
                panels[column / LANES * k + row][column % LANES] = element(row, column);
            }
        }
        Packed { panels, k, n }
    }

    pub(crate) fn view(&self) -> Panels<'_> {
        Panels {
            panels: &self.panels,
            pitch: self.k,
            k: self.k,
            n: self.n,
        }
    }
}

/// A borrowed packed matrix.  `pitch` is the distance of panels, at least `k`:
/// the value cache has space for future rows.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) panels: &'a [Lane],
    pub(crate) pitch: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// Destination of a product.
#[derive(Clone, Copy)]
pub(crate) enum Into<'a> {
    /// out = x w
    Store,
    /// out = x w + bias
    Bias(&'a [f32]),
    /// out = out + x w + bias
    Add(&'a [f32]),
}

/// a b + c; `mul_add` without the instruction would be a call.
#[inline(always)]
pub(crate) fn fma<V: Vector>(a: f32, b: f32, c: f32) -> f32 {
    if V::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `out[m × n] (op)= x[m × k] w[k × n]`, rows `x_pitch` and `out_pitch` apart.
#[inline(always)]
pub(crate) fn matmul<V: Vector>(
    x: &[f32],
    x_pitch: usize,
    m: usize,
    w: Panels<'_>,
    out: &mut [f32],
    out_pitch: usize,
    into: Into<'_>,
) {
    if m == 1 {
        return vector_product::<V>(x, w, out, into);
    }
    for (p, column) in (0..w.n).step_by(LANES).enumerate() {
        let panel = &w.panels[p * w.pitch..][..w.k];
        let width = LANES.min(w.n - column);
        let mut row = 0;
        while row < m {
            let x = &x[row * x_pitch..];
            let out = &mut out[row * out_pitch + column..];
            let block = Block {
                x,
                x_pitch,
                panel,
                out,
                out_pitch,
                column,
                width,
                into,
            };
            row += match m - row {
                1 => block.run::<V, 1>(),
                2 => block.run::<V, 2>(),
                3 => block.run::<V, 3>(),
                4 => block.run::<V, 4>(),
                5 => block.run::<V, 5>(),
                _ => block.run::<V, TILE>(),
            };
        }
    }
}

/// One tile of a product: M rows, one panel.
struct Block<'a> {
    x: &'a [f32],
    x_pitch: usize,
    panel: &'a [Lane],
    out: &'a mut [f32],
    out_pitch: usize,
    column: usize,
    width: usize,
    into: Into<'a>,
}

impl Block<'_> {
    #[inline(always)]
    fn run<V: Vector, const M: usize>(self) -> usize {
        let k = self.panel.len();
        let mut rows = [self.x.as_ptr(); M];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = self.x[r * self.x_pitch..][..k].as_ptr();
        }
        // SAFETY: this is inlined only where the processor supports V. i < k,
        // and `rows` are starts of slices of k; a check in the loop would keep
        // the sums out of the registers.
        unsafe {
            let mut sums = [V::zero(); M];
            for (i, w) in self.panel.iter().enumerate() {
                let w = V::load(w);
                for r in 0..M {
                    sums[r] = sums[r].add_product(*rows[r].add(i), w);
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                let out = &mut self.out[r * self.out_pitch..];
                self.into.write(sum, self.column, self.width, out);
            }
        }
        M
    }
}

/// `out[n] (op)= x[k] w[k × n]`: several panels together, because the sums of one
/// row and one panel would wait for each other's additions.
#[inline(always)]
fn vector_product<V: Vector>(x: &[f32], w: Panels<'_>, out: &mut [f32], into: Into<'_>) {
    let panels = w.n.div_ceil(LANES);
    let mut panel = 0;
    while panel < panels {
        panel += match panels - panel {
            1 => wide::<V, 1>(x, w, panel, out, into),
            2 => wide::<V, 2>(x, w, panel, out, into),
            3 => wide::<V, 3>(x, w, panel, out, into),
            _ => wide::<V, WIDE>(x, w, panel, out, into),
        };
    }
}

/// P panels of a product with one row, from panel `first`.
#[inline(always)]
fn wide<V: Vector, const P: usize>(
    x: &[f32],
    w: Panels<'_>,
    first: usize,
    out: &mut [f32],
    into: Into<'_>,
) -> usize {
    let mut panels = [w.panels.as_ptr(); P];
    for (p, panel) in panels.iter_mut().enumerate() {
        *panel = w.panels[(first + p) * w.pitch..][..w.k].as_ptr();
    }
    // SAFETY: as in `Block::run`; `panels` are starts of slices of k.
    unsafe {
        let mut sums = [V::zero(); P];
        for (i, x) in x[..w.k].iter().enumerate() {
            for p in 0..P {
                sums[p] = sums[p].add_product(*x, V::load(&*panels[p].add(i)));
            }
        }
        for (p, sum) in sums.into_iter().enumerate() {
            let column = (first + p) * LANES;
            let width = LANES.min(w.n - column);
            into.write(sum, column, width, &mut out[column..]);
        }
    }
    P
}

impl Into<'_> {
    /// Writes the sums of `width` columns from `column`, which `out` starts with.
    ///
    /// # Safety
    /// The processor supports V.
    #[inline(always)]
    unsafe fn write<V: Vector>(self, sum: V, column: usize, width: usize, out: &mut [f32]) {
        // SAFETY: the caller upholds the condition.
        unsafe {
            match (out.first_chunk_mut::<LANES>(), self) {
                (Some(out), Into::Store) if width == LANES => sum.store(out),
                (Some(out), Into::Bias(bias)) if width == LANES => {
                    sum.add(V::load(lane(bias, column))).store(out);
                }
                (Some(out), Into::Add(bias)) if width == LANES => {
                    let bias = V::load(lane(bias, column));
                    sum.add(bias).add(V::load(out)).store(out);
                }
                _ => {
                    let mut part = [0.0; LANES];
                    sum.store(&mut part);
                    self.narrow(&part, column, &mut out[..width]);
                }
            }
        }
    }

    /// The last panel, when n is not a multiple of [`LANES`].
    #[inline(always)]
    fn narrow(self, sum: &Lane, column: usize, out: &mut [f32]) {
        for (i, (out, sum)) in out.iter_mut().zip(sum).enumerate() {
            *out = match self {
                Into::Store => *sum,
                Into::Bias(bias) => sum + bias[column + i],
                Into::Add(bias) => *out + sum + bias[column + i],
            };
        }
    }
}

#[inline(always)]
fn lane(x: &[f32], at: usize) -> &Lane {
    x[at..]
        .first_chunk()
        .expect("the panel is whole, so sixteen values are left")
}

/// e^x within 2 units in the last place for x <= 88; 0 below -87.
/// Cephes' polynomial; rounding by the add of 1.5 · 2^23 vectorises.
#[inline(always)]
fn exp<V: Vector>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let flush = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = fma::<V>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<V>(n, -355.0 / 512.0, x);
    let r = fma::<V>(n, 2.121_944_4e-4, r);
    let mut y = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ] {
        y = fma::<V>(y, r, c);
    }
    let y = fma::<V>(y * r, r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if flush { 0.0 } else { y * power }
}

/// GPT-2's GELU: x/2 (1 + tanh u) = x σ(2u), u = √(2/π) (x + 0.044715 x³).
#[inline(always)]
pub(crate) fn gelu<V: Vector>(x: &mut [f32]) {
    const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;
    for x in x {
        let u = *x * fma::<V>(*x * *x, 0.044_715, 1.0) * TWO_SQRT_2_OVER_PI;
        *x /= 1.0 + exp::<V>(-u);
    }
}

/// Softmax over the first `valid` values; the rest become 0.  The length is a
/// multiple of [`LANES`].
#[inline(always)]
pub(crate) fn softmax<V: Vector>(row: &mut [f32], valid: usize) {
    row[valid..].fill(f32::NEG_INFINITY);
    let (lanes, _) = split(row);
    let mut top = [f32::NEG_INFINITY; LANES];
    for lane in lanes {
        for l in 0..LANES {
            top[l] = if lane[l] > top[l] { lane[l] } else { top[l] };
        }
    }
    let top = top.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = [0.0; LANES];
    for lane in row.chunks_exact_mut(LANES) {
        for l in 0..LANES {
            lane[l] = exp::<V>(lane[l] - top);
            sum[l] += lane[l];
        }
    }
    let scale = 1.0 / sum.iter().sum::<f32>();
    for x in row {
        *x *= scale;
    }
}

/// `out = (x - mean) / √(variance + epsilon) · weight + bias`, row by row.
#[inline(always)]
pub(crate) fn layer_norm<V: Vector>(
    x: &[f32],
    width: usize,
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let scale = 1.0 / width as f32;
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = reduce(x, |v| v) * scale;
        let variance = reduce(x, |v| (v - mean) * (v - mean)) * scale;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for ((o, x), (w, b)) in out.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
            *o = fma::<V>((x - mean) * inverse, *w, *b);
        }
    }
}

/// Sum of f(x), in lanes, since the order of a plain sum may not be changed.
#[inline(always)]
fn reduce(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (lanes, rest) = split(x);
    let mut sum = [0.0; LANES];
    for lane in lanes {
        for l in 0..LANES {
            sum[l] += f(lane[l]);
        }
    }
    sum.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>()
}

#[inline(always)]
fn split(x: &[f32]) -> (impl Iterator<Item = &[f32]>, &[f32]) {
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    (chunks, rest)
}

#[cfg(test)]
mod tests {
    use super::super::vector::Plain;
    use super::*;

    fn noise(n: usize, mut state: u64) -> Vec<f32> {
        (0..n)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn products_of_every_shape() {
        for (m, k, n) in [
            (1, 3, 1),
            (5, 16, 16),
            (6, 7, 17),
            (8, 48, 144),
            (13, 33, 31),
            (16, 64, 3),
        ] {
            let (x, w, b) = (noise(m * k, 1), noise(k * n, 2), noise(n, 3));
            let packed = Packed::new(k, n, |r, c| w[r * n + c]);
            let mut out = noise(m * n, 4);
            let before = out.clone();
            matmul::<Plain>(&x, k, m, packed.view(), &mut out, n, Into::Add(&b));
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k)
                        .map(|l| f64::from(x[i * k + l]) * f64::from(w[l * n + j]))
                        .sum();
                    let want = f64::from(before[i * n + j]) + f64::from(b[j]) + sum;
                    assert!(
                        (f64::from(out[i * n + j]) - want).abs() < 1e-5,
                        "{m} {k} {n}"
                    );
                }
            }
        }
    }

    /// A window is fed in pieces of any size, so the bits must not depend on it.
    #[test]
    fn a_row_alone_equals_a_row_among_others() {
        for (k, n) in [(1, 1), (3, 16), (58, 32), (7, 50), (32, 64), (33, 129)] {
            let (x, w, b) = (noise(2 * k, 1), noise(k * n, 2), noise(n, 3));
            let packed = Packed::new(k, n, |r, c| w[r * n + c]);
            for into in [Into::Store, Into::Bias(&b), Into::Add(&b)] {
                let mut together = noise(2 * n, 4);
                let mut alone = together.clone();
                matmul::<Plain>(&x, k, 2, packed.view(), &mut together, n, into);
                for (x, out) in x.chunks(k).zip(alone.chunks_mut(n)) {
                    matmul::<Plain>(x, k, 1, packed.view(), out, n, into);
                }
                assert_eq!(alone, together, "{k} x {n}");
            }
        }
    }

    #[test]
    fn exponentials_are_close() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let got = f64::from(exp::<Plain>(x));
            assert!((got - want).abs() <= 3e-7 * want, "e^{x}: {got} {want}");
        }
        assert_eq!(exp::<Plain>(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn gelu_matches_gpt2() {
        let mut got: Vec<f32> = (-1000..1000).map(|i| i as f32 / 50.0).collect();
        let inputs = got.clone();
        gelu::<Plain>(&mut got);
        for (x, got) in inputs.into_iter().zip(got) {
            let x = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!(
                (f64::from(got) - 0.5 * x * (1.0 + u.tanh())).abs() < 2e-6 * x.abs().max(1.0),
                "{x}"
            );
        }
    }

    #[test]
    fn softmax_ignores_masked_entries() {
        let mut row = noise(32, 9);
        row[20..].fill(1e6);
        let want: Vec<f64> = row[..20].iter().map(|v| f64::from(*v).exp()).collect();
        let sum: f64 = want.iter().sum();
        softmax::<Plain>(&mut row, 20);
        for (got, want) in row.iter().zip(&want) {
            assert!((f64::from(*got) - want / sum).abs() < 1e-6);
        }
        assert!(row[20..].iter().all(|v| *v == 0.0));
    }
}
