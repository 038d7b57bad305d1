//! Vectors of sixteen numbers, for each kind of processor.

/// Number of elements of a [`Vector`], and of columns of a panel.
pub(crate) const LANES: usize = 16;

/// One vector in memory.
pub(crate) type Lane = [f32; LANES];

/// Sixteen sums in registers.
///
/// # Safety
/// The methods of a type must only be called if the processor has the features
/// in the type's name.
pub(crate) trait Vector: Copy {
    /// Whether a fused multiply-add is one instruction here (else it is a call).
    const FMA: bool;

    unsafe fn zero() -> Self;
    unsafe fn load(lane: &Lane) -> Self;
    /// `self + x w`
    unsafe fn add_product(self, x: f32, w: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn store(self, lane: &mut Lane);
}

/// The features of the compilation target.
#[derive(Clone, Copy)]
pub(crate) struct Plain(Lane);

impl Vector for Plain {
    const FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

    #[inline(always)]
    unsafe fn zero() -> Self {
        Plain([0.0; LANES])
    }

    #[inline(always)]
    unsafe fn load(lane: &Lane) -> Self {
        Plain(*lane)
    }

    #[inline(always)]
    unsafe fn add_product(mut self, x: f32, w: Self) -> Self {
        for (sum, w) in self.0.iter_mut().zip(w.0) {
            *sum = if Self::FMA {
                x.mul_add(w, *sum)
            } else {
                *sum + x * w
            };
        }
        self
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for (sum, x) in self.0.iter_mut().zip(other.0) {
            *sum += x;
        }
        self
    }

    #[inline(always)]
    unsafe fn store(self, lane: &mut Lane) {
        *lane = self.0;
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps,
    };

    use super::{LANES, Lane, Vector};

    /// AVX2 and FMA: two registers.  The methods are inlined into functions
    /// that have `target_feature(enable = "avx2,fma")`.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    // SAFETY, throughout: the caller upholds the trait's condition; the two
    // halves of a lane are eight numbers each.
    impl Vector for Avx2 {
        const FMA: bool = true;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Avx2(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }

        #[inline(always)]
        unsafe fn load(lane: &Lane) -> Self {
            let half = lane.as_ptr();
            unsafe { Avx2(_mm256_loadu_ps(half), _mm256_loadu_ps(half.add(LANES / 2))) }
        }

        #[inline(always)]
        unsafe fn add_product(self, x: f32, w: Self) -> Self {
            unsafe {
                let x = _mm256_set1_ps(x);
                Avx2(
                    _mm256_fmadd_ps(x, w.0, self.0),
                    _mm256_fmadd_ps(x, w.1, self.1),
                )
            }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe {
                Avx2(
                    _mm256_add_ps(self.0, other.0),
                    _mm256_add_ps(self.1, other.1),
                )
            }
        }

        #[inline(always)]
        unsafe fn store(self, lane: &mut Lane) {
            let half = lane.as_mut_ptr();
            unsafe {
                _mm256_storeu_ps(half, self.0);
                _mm256_storeu_ps(half.add(LANES / 2), self.1);
            }
        }
    }
}
