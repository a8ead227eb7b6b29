//! The innermost kernel: a block of voxels times a block of output channels stays in registers.
//!
//! For every tap and input channel it loads the weights of the channel block, broadcasts one input value per voxel,
//! multiplies and adds. Taps along x and input channels are one contiguous run in memory, so the loop has no inner branches.
#![allow(unsafe_code)]

use super::simd::Simd;

/// One block of voxels and output channels.
pub(crate) struct Tile {
    pub(crate) x: *const f32,
    pub(crate) x_step: usize,
    pub(crate) row: usize,
    pub(crate) plane: usize,
    pub(crate) w: *const f32,
    pub(crate) taps: [usize; 2],
    pub(crate) run: usize,
    pub(crate) bias: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) out_step: usize,
}
impl Tile {
    /// [`Tile::compute`] for a number of voxels that is known at run time, at most 12.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and all addresses of the tile can be read or written.
    #[inline(always)]
    pub(crate) unsafe fn dispatch<S: Simd, const NZ: usize>(&self, voxels: usize) {
        // SAFETY: the caller's.
        unsafe {
            match voxels {
                1 => self.compute::<S, 1, NZ>(),
                2 => self.compute::<S, 2, NZ>(),
                3 => self.compute::<S, 3, NZ>(),
                4 => self.compute::<S, 4, NZ>(),
                5 => self.compute::<S, 5, NZ>(),
                6 => self.compute::<S, 6, NZ>(),
                7 => self.compute::<S, 7, NZ>(),
                8 => self.compute::<S, 8, NZ>(),
                9 => self.compute::<S, 9, NZ>(),
                10 => self.compute::<S, 10, NZ>(),
                11 => self.compute::<S, 11, NZ>(),
                _ => self.compute::<S, 12, NZ>(),
            }
        }
    }

    /// `out[v][k] = bias[k] + Σ x[v + tap][channel] · w[tap][channel][k]` for `NX` voxels and `NZ` registers.
    #[inline(always)]
    unsafe fn compute<S: Simd, const NX: usize, const NZ: usize>(&self) {
        // SAFETY: the addresses are inside slab, weights, bias and output by the contract of `Job::rows`.
        unsafe {
            let mut acc = [[S::zero(); NZ]; NX];
            for acc in &mut acc {
                for (k, sum) in acc.iter_mut().enumerate() {
                    *sum = S::load(self.bias.add(k * S::LANES));
                }
            }
            let mut w = self.w;
            for tz in 0..self.taps[0] {
                for ty in 0..self.taps[1] {
                    let x = self.x.add(tz * self.plane + ty * self.row);
                    for j in 0..self.run {
                        let mut weights = [S::zero(); NZ];
                        for (k, weight) in weights.iter_mut().enumerate() {
                            *weight = S::load(w.add(k * S::LANES));
                        }
                        w = w.add(NZ * S::LANES);
                        for (v, acc) in acc.iter_mut().enumerate() {
                            let value = S::splat(x.add(v * self.x_step + j));
                            for (sum, weight) in acc.iter_mut().zip(weights) {
                                *sum = S::fma(value, weight, *sum);
                            }
                        }
                    }
                }
            }
            for (v, acc) in acc.iter().enumerate() {
                for (k, sum) in acc.iter().enumerate() {
                    S::store(self.out.add(v * self.out_step + k * S::LANES), *sum);
                }
            }
        }
    }
}
