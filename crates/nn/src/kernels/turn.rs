//! Matrices turned over in registers.
#![allow(unsafe_code)]

/// Rows and columns that are turned over at once.
const SIDE: usize = 16;

/// Writes number `columns[i]` of each of `rows` rows, `step` values apart, to row `i` of `to`, whose rows are `pitch` values apart.
///
/// Returns whether it did: only with AVX-512, and where the columns lie close together.
pub(crate) fn turn(
    from: &[f32],
    step: usize,
    rows: usize,
    columns: &[usize],
    to: &mut [f32],
    pitch: usize,
) -> bool {
    let (Some(first), Some(last)) = (columns.iter().min(), columns.iter().max()) else { return true };
    let (first, width) = (*first, last - first + 1);
    if width > 2 * columns.len() + SIDE || rows == 0 {
        return rows == 0;
    }
    assert!(from.len() > (rows - 1) * step + last);
    assert!(pitch >= rows && to.len() >= columns.len() * pitch);
    #[cfg(target_arch = "x86_64")]
    if super::isa() == super::Isa::Avx512 && width <= 64 {
        let mut targets = [usize::MAX; 64];
        for (i, column) in columns.iter().enumerate() {
            targets[column - first] = i * pitch;
        }
        // SAFETY: `isa()` gives an instruction set only where the processor has it; rows and columns were checked above.
        unsafe { x86::all(&from[first..], step, rows, &targets[..width], to) };
        return true;
    }
    false
}

/// Writes row `i` of `rows` rows of `count` values, `step` values apart, to column `i` of `to`, whose rows are `pitch` values apart.
///
/// Returns whether it did: only with AVX-512.
pub(crate) fn turn_back(
    from: &[f32],
    step: usize,
    rows: usize,
    count: usize,
    to: &mut [f32],
    pitch: usize,
) -> bool {
    if rows == 0 || count == 0 {
        return true;
    }
    assert!(from.len() >= (rows - 1) * step + count && to.len() >= (count - 1) * pitch + rows);
    #[cfg(target_arch = "x86_64")]
    if super::isa() == super::Isa::Avx512 {
        let mut targets = [0; 64];
        for first in (0..count).step_by(64) {
            let targets = &mut targets[..64.min(count - first)];
            targets.iter_mut().enumerate().for_each(|(i, target)| *target = (first + i) * pitch);
            // SAFETY: as above.
            unsafe { x86::all(&from[first..], step, rows, targets, to) };
        }
        return true;
    }
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::SIDE;

    /// Writes every column of a matrix to where its target says, if it is not `usize::MAX`.
    ///
    /// # Safety
    /// The processor has AVX-512F; `rows` rows of as many values as there are targets can be read `step` values apart, and
    /// `rows` values be written at every target.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn all(from: &[f32], step: usize, rows: usize, targets: &[usize], to: &mut [f32]) {
        for row in (0..rows).step_by(SIDE) {
            for (part, targets) in targets.chunks(SIDE).enumerate() {
                let own = SIDE.min(rows - row);
                // SAFETY: the caller's.
                unsafe {
                    let turned = turn(from.as_ptr().add(row * step + part * SIDE), step, own, targets.len());
                    for (turned, target) in turned.iter().zip(targets) {
                        if *target != usize::MAX {
                            put(to.as_mut_ptr().add(target + row), *turned, own);
                        }
                    }
                }
            }
        }
    }

    /// The columns of a matrix; zero beyond its rows and columns.
    ///
    /// # Safety
    /// The processor has AVX-512F; `rows` rows of `columns` values, both at most 16, can be read `step` values apart.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn turn(from: *const f32, step: usize, rows: usize, columns: usize) -> [__m512; SIDE] {
        let mask = mask(columns);
        let mut a = [_mm512_setzero_ps(); SIDE];
        for (i, row) in a.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller's.
            *row = unsafe { _mm512_maskz_loadu_ps(mask, from.add(i * step)) };
        }
        // Pairs, then fours within 128 bits, then the four quarters.
        let mut b = [_mm512_setzero_ps(); SIDE];
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
        }
        for i in 0..4 {
            let (w, x) = (_mm512_castps_pd(b[4 * i]), _mm512_castps_pd(b[4 * i + 1]));
            let (y, z) = (_mm512_castps_pd(b[4 * i + 2]), _mm512_castps_pd(b[4 * i + 3]));
            a[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(w, y));
            a[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(w, y));
            a[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, z));
            a[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, z));
        }
        for i in 0..4 {
            let low = _mm512_shuffle_f32x4::<0x88>(a[i], a[4 + i]);
            let high = _mm512_shuffle_f32x4::<0xdd>(a[i], a[4 + i]);
            let low2 = _mm512_shuffle_f32x4::<0x88>(a[8 + i], a[12 + i]);
            let high2 = _mm512_shuffle_f32x4::<0xdd>(a[8 + i], a[12 + i]);
            b[i] = _mm512_shuffle_f32x4::<0x88>(low, low2);
            b[8 + i] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
            b[4 + i] = _mm512_shuffle_f32x4::<0x88>(high, high2);
            b[12 + i] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
        }
        b
    }

    /// Writes the first `count` lanes.
    ///
    /// # Safety
    /// The processor has AVX-512F; `count` values can be written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn put(to: *mut f32, v: __m512, count: usize) {
        // SAFETY: the caller's.
        unsafe { _mm512_mask_storeu_ps(to, mask(count), v) };
    }

    fn mask(count: usize) -> u16 {
        if count >= SIDE { u16::MAX } else { (1 << count) - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_any_size_are_turned_over() {
        for (rows, columns, step) in [(16, 16, 16), (32, 27, 50), (17, 8, 8), (3, 1, 5), (1, 40, 40)] {
            let from: Vec<f32> = (0..rows * step).map(|i| i as f32).collect();
            let wanted: Vec<usize> = (0..columns).rev().collect();
            let (mut to, mut back) = (vec![-1.0; columns * (rows + 2)], vec![-1.0; columns * (rows + 2)]);
            if turn(&from, step, rows, &wanted, &mut to, rows + 2) {
                assert!(turn_back(&from, step, rows, columns, &mut back, rows + 2));
                for (i, value) in to.iter().enumerate() {
                    let (column, row) = (i / (rows + 2), i % (rows + 2));
                    let expected =
                        |column: usize| if row < rows { (row * step + column) as f32 } else { -1.0 };
                    assert_eq!(*value, expected(wanted[column]));
                    assert_eq!(back[i], expected(column));
                }
            }
        }
    }
}
