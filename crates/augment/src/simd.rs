//! Loops compiled for the widest instructions of the processor.
//!
//! The compiler's baseline for x86-64 has vectors of four floats. A [`Kernel`] is compiled once more for AVX2 and AVX-512,
//! and the widest version that the processor has is run. No version contracts or reorders arithmetic, so all of them give
//! the same bits; a test holds them equal.
#![allow(unsafe_code)]

/// A loop and what it needs. `run` must be `#[inline(always)]`, or else it is compiled for the baseline alone.
pub(crate) trait Kernel {
    /// Result of the loop.
    type Output;

    /// The loop.
    fn run(self) -> Self::Output;
}

/// Runs a kernel in its widest version.
#[inline]
pub(crate) fn widest<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            // SAFETY: the processor has the instructions that `avx512` is compiled for.
            return unsafe { avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above, for `avx2`.
            return unsafe { avx2(kernel) };
        }
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum<'a>(&'a [f32]);

    impl Kernel for Sum<'_> {
        type Output = [f32; 8];

        #[inline(always)]
        fn run(self) -> [f32; 8] {
            let mut lanes = [0.0f32; 8];
            for chunk in self.0.as_chunks::<8>().0 {
                for (lane, v) in lanes.iter_mut().zip(chunk) {
                    *lane = *lane * 1.01 + v * 0.3;
                }
            }
            lanes
        }
    }

    #[test]
    fn all_versions_give_the_same_bits() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let plain = Sum(&values).run().map(f32::to_bits);
        assert_eq!(widest(Sum(&values)).map(f32::to_bits), plain);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            assert_eq!(unsafe { avx2(Sum(&values)) }.map(f32::to_bits), plain);
        }
    }
}
