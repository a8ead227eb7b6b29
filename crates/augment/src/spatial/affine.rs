use crate::{AffineMap, AugmentError, Parameters};

/// Fractional bits of a coordinate.
pub(crate) const FRACTION_BITS: u32 = 32;
/// One voxel.
pub(crate) const ONE: i64 = 1 << FRACTION_BITS;
/// Longest axis for which coordinates cannot overflow.
pub(crate) const LONGEST_AXIS: usize = 1 << 20;
/// Largest scale factor for which coordinates cannot overflow.
pub(crate) const LARGEST_SCALE: f64 = 64.0;

/// The map from voxels of the patch to coordinates of the loaded patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine {
    matrix: [[f64; 3]; 3],
    patch: [usize; 3],
    loaded: [usize; 3],
    deforms: bool,
}

/// Coordinates along one row of the patch, one entry per axis z, y, x: voxel `j` is at `start + j·step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    pub(crate) start: [i64; 3],
    pub(crate) step: [i64; 3],
}

impl Affine {
    /// The map of these parameters, or `None` if they neither rotate nor scale.
    pub(crate) fn new(
        parameters: &Parameters,
        in_plane: bool,
        patch: [usize; 3],
        loaded: [usize; 3],
    ) -> Result<Option<Self>, AugmentError> {
        if parameters.rotation.is_none() && parameters.scaling.is_none() && parameters.elastic.is_none() {
            return Ok(None);
        }
        check(parameters, loaded)?;
        let angles = parameters.rotation.unwrap_or_default();
        let scale = parameters.scaling.unwrap_or([1.0; 3]);
        let matrix = if in_plane { planar(angles[0], scale) } else { spatial(angles, scale) };
        Ok(Some(Self { matrix, patch, loaded, deforms: parameters.elastic.is_some() }))
    }

    /// The map in floating point.
    pub(crate) fn map(&self) -> AffineMap {
        AffineMap { matrix: self.matrix, centre: self.loaded.map(|length| (length as f64 - 1.0) / 2.0) }
    }

    /// Whether an elastic deformation goes with the map.
    pub(crate) fn deforms(&self) -> bool {
        self.deforms
    }

    /// Coordinates of the row of the patch that starts at voxel `(z, y, 0)`.
    pub(crate) fn row(&self, z: usize, y: usize) -> Row {
        let [dz, dy, dx] = self.offset([z, y, 0]);
        let mut row = Row { start: [0; 3], step: [0; 3] };
        for (axis, m) in self.matrix.iter().enumerate() {
            let centre = (self.loaded[axis] as f64 - 1.0) / 2.0;
            row.start[axis] = fixed(m[0] * dz + m[1] * dy + m[2] * dx + centre);
            row.step[axis] = fixed(m[2]);
        }
        row
    }

    /// Voxels of the loaded patch that the patch can touch, as `(start, end)` along an axis.
    pub(crate) fn extent(&self, axis: usize) -> (usize, usize) {
        let half = self.offset([0; 3]);
        let reach: f64 = (0..3).map(|k| (self.matrix[axis][k] * half[k]).abs()).sum();
        let centre = (self.loaded[axis] as f64 - 1.0) / 2.0;
        // The slack covers the rounding of coordinates, by far.
        let low = (centre - reach - 1e-3).floor().max(0.0) as usize;
        let high = (centre + reach + 1e-3).floor().max(0.0) as usize + 2;
        let end = high.min(self.loaded[axis]);
        (low.min(end - 1), end)
    }

    /// Coordinates of patch position `voxel + moved`, and `shift` added.
    pub(crate) fn at(&self, voxel: [usize; 3], moved: [f64; 3], shift: [f64; 3]) -> [i64; 3] {
        let offset = self.offset(voxel);
        let from = [0, 1, 2].map(|k| offset[k] + moved[k]);
        [0, 1, 2].map(|axis| {
            let m = &self.matrix[axis];
            let centre = (self.loaded[axis] as f64 - 1.0) / 2.0;
            fixed(m[0] * from[0] + m[1] * from[1] + m[2] * from[2] + centre + shift[axis])
        })
    }

    /// The map's matrix times a vector.
    pub(crate) fn turn(&self, v: [f64; 3]) -> [f64; 3] {
        self.matrix.map(|m| m[0] * v[0] + m[1] * v[1] + m[2] * v[2])
    }

    fn offset(&self, voxel: [usize; 3]) -> [f64; 3] {
        [0, 1, 2].map(|k| voxel[k] as f64 - (self.patch[k] as f64 - 1.0) / 2.0)
    }
}

impl Row {
    /// The indices `j < count` for which `low <= coordinate < high` on `axis`, as a half-open range.
    ///
    /// Exact: coordinates along a row are a linear sequence of integers.
    pub(crate) fn within(&self, axis: usize, low: i64, high: i64, count: usize) -> (usize, usize) {
        let (start, step) = (self.start[axis], self.step[axis]);
        let inside = low..high;
        if count > 0 && inside.contains(&start) && inside.contains(&(start + (count as i64 - 1) * step)) {
            return (0, count);
        }
        let (first, end) = if step == 0 {
            (0, 0)
        } else if step > 0 {
            (ceil_div(low - start, step), ceil_div(high - start, step))
        } else {
            (ceil_div(start - high + 1, -step), ceil_div(start - low + 1, -step))
        };
        let first = first.clamp(0, count as i64) as usize;
        (first, (end.clamp(0, count as i64) as usize).max(first))
    }

    /// Whether z is a whole number all along the row, so that one plane is enough.
    pub(crate) fn is_planar(&self) -> bool {
        self.step[0] == 0 && self.start[0] & (ONE - 1) == 0
    }

    /// Coordinates of voxel `j`.
    pub(crate) fn at(&self, j: usize) -> [i64; 3] {
        [0, 1, 2].map(|axis| self.start[axis] + j as i64 * self.step[axis])
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

fn fixed(value: f64) -> i64 {
    let scaled = value * ONE as f64;
    (scaled + 0.5f64.copysign(scaled)) as i64
}

fn check(parameters: &Parameters, loaded: [usize; 3]) -> Result<(), AugmentError> {
    let fail = |key, found: String, expected: String| Err(AugmentError::Parameter { key, found, expected });
    if let Some(angles) = parameters.rotation
        && !angles.iter().all(|a| a.is_finite())
    {
        return fail("rotation", format!("{angles:?}"), "finite angles".into());
    }
    if let Some(scale) = parameters.scaling
        && !scale.iter().all(|&factor| factor > 0.0 && factor <= LARGEST_SCALE)
    {
        return fail("scaling", format!("{scale:?}"), format!("above 0, at most {LARGEST_SCALE}"));
    }
    if let Some(elastic) = &parameters.elastic
        && !elastic.is_usable()
    {
        let expected = format!("smoothings of at least 0 and displacements up to {LONGEST_AXIS} voxels");
        return fail("elastic", format!("{elastic:?}"), expected);
    }
    match loaded.iter().position(|&length| length > LONGEST_AXIS) {
        Some(axis) => {
            let expected = format!("at most {LONGEST_AXIS}");
            Err(AugmentError::Shape { what: "image", axis, found: loaded[axis], expected })
        }
        None => Ok(()),
    }
}

/// Rotation and scaling in the plane of axes y and x.
fn planar(angle: f64, [_, y, x]: [f64; 3]) -> [[f64; 3]; 3] {
    let (s, c) = angle.sin_cos();
    [[1.0, 0.0, 0.0], [0.0, c * y, -s * x], [0.0, s * y, c * x]]
}

/// Rotation about axis z, then y, then x, after scaling.
fn spatial(angles: [f64; 3], scale: [f64; 3]) -> [[f64; 3]; 3] {
    let [(s0, c0), (s1, c1), (s2, c2)] = angles.map(f64::sin_cos);
    let about_0 = [[1.0, 0.0, 0.0], [0.0, c0, -s0], [0.0, s0, c0]];
    let about_1 = [[c1, 0.0, s1], [0.0, 1.0, 0.0], [-s1, 0.0, c1]];
    let about_2 = [[c2, -s2, 0.0], [s2, c2, 0.0], [0.0, 0.0, 1.0]];
    let rotation = product(&product(&about_2, &about_1), &about_0);
    rotation.map(|row| [row[0] * scale[0], row[1] * scale[1], row[2] * scale[2]])
}

fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    [0, 1, 2].map(|i| [0, 1, 2].map(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_matrix_is_the_reference_s() {
        let expected = [
            [1.029923, -0.302605, 0.240186],
            [0.318592, 1.052068, -0.040653],
            [-0.218536, 0.107628, 1.072687],
        ];
        let found = spatial([0.1, 0.2, 0.3], [1.1; 3]);
        for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((a - b).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn unusable_values_are_refused() {
        let with = |rotation, scaling, loaded| {
            let parameters = Parameters { rotation, scaling, ..Default::default() };
            Affine::new(&parameters, false, [4; 3], loaded).is_err()
        };
        assert!(with(Some([f64::NAN, 0.0, 0.0]), None, [4; 3]));
        assert!(with(None, Some([1.0, 0.0, 1.0]), [4; 3]));
        assert!(with(None, Some([1e9; 3]), [4; 3]));
        assert!(with(None, Some([1.0; 3]), [4, 4, LONGEST_AXIS + 1]));
        assert!(!with(Some([0.1; 3]), Some([1.0; 3]), [4; 3]));
    }

    proptest! {
        #[test]
        fn ranges_along_a_row_are_those_of_a_search(
            start in -50i64..50, step in -9i64..9, low in -40i64..40, length in 0i64..40, count in 0usize..20
        ) {
            let row = Row { start: [start; 3], step: [step; 3] };
            let (first, end) = row.within(1, low, low + length, count);
            for j in 0..count {
                let inside = (low..low + length).contains(&row.at(j)[1]);
                prop_assert_eq!(inside, (first..end).contains(&j));
            }
        }
    }
}
