//! Tile registers, and a portable model of them.
#![allow(unsafe_code)]

use super::widen;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Bytes of a row: 16 f32 or 32 bf16.
pub(super) const ROW_BYTES: usize = 64;

/// Eight registers of 16 rows of 64 bytes, as AMX has them.
///
/// # Safety
/// Pointers must be valid for 16 rows of 64 bytes, `stride` bytes apart; numbers are below 8. An implementation over
/// instructions needs a processor and a system that allow them.
pub(super) unsafe trait Tiles {
    /// Makes the registers ready for use on this thread.
    unsafe fn begin() -> Self;
    /// Gives them up.
    unsafe fn end(&mut self);
    /// Sets a register to zero.
    unsafe fn zero<const T: usize>(&mut self);
    /// Reads a register.
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize);
    /// Writes a register.
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize);
    /// `C[m][n] += Σ_k A[m][2k] · B[k][2n] + A[m][2k+1] · B[k][2n+1]` with A and B in bf16 and C in f32.
    unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// The registers as memory.
///
/// Sums are those of the instruction: the even and the odd products of an element are added up apart, in order, each fused
/// and rounded to f32, and then both to the element. Subnormal numbers count as zero.
pub(super) struct Emulated {
    registers: [[[u8; ROW_BYTES]; ROWS]; 8],
}

/// Zero for what is subnormal.
fn flush(v: f32) -> f32 {
    if v.is_subnormal() { 0.0 } else { v }
}

impl Emulated {
    fn half(&self, register: usize, row: usize, i: usize) -> f32 {
        let row = &self.registers[register][row];
        flush(widen(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])))
    }

    fn single(&self, register: usize, row: usize, i: usize) -> f32 {
        let row = &self.registers[register][row];
        f32::from_le_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]])
    }
}

// SAFETY: memory is touched through the pointers of the caller only, 64 bytes per row.
unsafe impl Tiles for Emulated {
    unsafe fn begin() -> Self {
        Self { registers: [[[0; ROW_BYTES]; ROWS]; 8] }
    }

    unsafe fn end(&mut self) {}

    unsafe fn zero<const T: usize>(&mut self) {
        self.registers[T] = [[0; ROW_BYTES]; ROWS];
    }

    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize) {
        for (i, row) in self.registers[T].iter_mut().enumerate() {
            // SAFETY: the caller's.
            unsafe { std::ptr::copy_nonoverlapping(from.add(i * stride), row.as_mut_ptr(), ROW_BYTES) };
        }
    }

    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        for (i, row) in self.registers[T].iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to.add(i * stride), ROW_BYTES) };
        }
    }

    unsafe fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        for m in 0..ROWS {
            for n in 0..ROWS {
                let (mut even, mut odd) = (0.0f32, 0.0f32);
                for k in 0..ROWS {
                    even = flush(self.half(A, m, 2 * k).mul_add(self.half(B, k, 2 * n), even));
                    odd = flush(self.half(A, m, 2 * k + 1).mul_add(self.half(B, k, 2 * n + 1), odd));
                }
                let sum = flush(self.single(C, m, n) + flush(even + odd));
                self.registers[C][m][4 * n..4 * n + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::round;
    use super::*;

    #[test]
    fn a_product_of_small_integers_is_exact() {
        let a: Vec<u16> = (0..16 * 32).map(|i| round((i % 7) as f32 - 3.0)).collect();
        let b: Vec<u16> = (0..16 * 32).map(|i| round((i % 5) as f32 - 2.0)).collect();
        let mut c = vec![1.0f32; 256];
        // SAFETY: the matrices have 16 rows of 64 bytes.
        unsafe {
            let mut tiles = Emulated::begin();
            tiles.load::<0>(c.as_ptr().cast(), 64);
            tiles.load::<1>(a.as_ptr().cast(), 64);
            tiles.load::<2>(b.as_ptr().cast(), 64);
            tiles.multiply::<0, 1, 2>();
            tiles.store::<0>(c.as_mut_ptr().cast(), 64);
        }
        for (i, found) in c.iter().enumerate() {
            let (m, n) = (i / 16, i % 16);
            let term = |k: usize| widen(a[m * 32 + k]) * widen(b[k / 2 * 32 + 2 * n + k % 2]);
            assert_eq!(*found, 1.0 + (0..32).map(term).sum::<f32>());
        }
    }
}
