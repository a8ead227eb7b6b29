//! Label maps from one grid to another that has the same voxels.

use ndarray::{Array3, ArrayView3};

use crate::{Geometry, ImageError, LabelMap};

/// How far voxels of the two grids may be apart, in voxels.
const APART: f64 = 0.1;

/// Voxel coordinates (x, y, z) of a place in millimetres.
fn index_of(geometry: &Geometry, place: [f64; 3]) -> [f64; 3] {
    let way: [f64; 3] = std::array::from_fn(|i| place[i] - geometry.origin[i]);
    std::array::from_fn(|k| {
        (0..3).map(|row| geometry.direction[row][k] * way[row]).sum::<f64>() / geometry.spacing[2 - k]
    })
}

/// The place of voxel coordinates (x, y, z) in millimetres.
fn place_of(geometry: &Geometry, index: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|row| {
        let along = |k: usize| geometry.direction[row][k] * geometry.spacing[2 - k] * index[k];
        geometry.origin[row] + along(0) + along(1) + along(2)
    })
}

/// Puts a label map onto a grid of `shape` (z, y, x) whose voxels are the same: axes may be swapped and mirrored, and the label
/// map may cover a part; what lies outside of it is 0. Nothing is resampled.
///
/// # Errors
/// Voxels that are not those of the grid within a tenth of a voxel, or foreground outside of it.
pub fn place_labels(
    labels: &LabelMap,
    geometry: &Geometry,
    shape: [usize; 3],
) -> Result<LabelMap, ImageError> {
    let data = place(labels.data.view(), &labels.geometry, geometry, shape)?;
    Ok(LabelMap { data, geometry: geometry.clone() })
}

/// As [`place_labels`], for whatever stands on the grid `from`.
pub(super) fn place<T: Copy + Default + PartialEq>(
    values: ArrayView3<'_, T>,
    from: &Geometry,
    geometry: &Geometry,
    shape: [usize; 3],
) -> Result<Array3<T>, ImageError> {
    let (depth, rows, columns) = values.dim();
    let last = [columns, rows, depth].map(|n| n.saturating_sub(1) as f64);
    let (start, steps) = way(from, last, geometry)?;
    let mut data = Array3::default(shape);
    for ((z, y, x), &value) in values.indexed_iter() {
        if value == T::default() {
            continue;
        }
        let index = [x as i64, y as i64, z as i64];
        let target: [i64; 3] =
            std::array::from_fn(|i| start[i] + (0..3).map(|k| steps[k][i] * index[k]).sum::<i64>());
        let inside = data.get_mut([target[2] as usize, target[1] as usize, target[0] as usize]);
        let outside = || other(from, geometry, &format!("voxel (z, y, x) = {:?} lies outside", [z, y, x]));
        *inside.ok_or_else(outside)? = value;
    }
    Ok(data)
}

fn other(from: &Geometry, to: &Geometry, what: &str) -> ImageError {
    let frame = |g: &Geometry| format!("spacing {:?}, origin {:?}", g.spacing, g.origin);
    let reason =
        format!("labels and image have other voxels: {what} ({}; image: {})", frame(from), frame(to));
    ImageError::Orientation(reason)
}

/// Where the first voxel of the grid `from` stands on another, and how far a step along each of its axes goes there; `last` is its
/// last voxel (x, y, z).
fn way(from: &Geometry, last: [f64; 3], to: &Geometry) -> Result<([i64; 3], [[i64; 3]; 3]), ImageError> {
    let at = |index: [f64; 3]| index_of(to, place_of(from, index));
    let origin = at([0.0; 3]);
    let steps: [[f64; 3]; 3] = std::array::from_fn(|k| {
        let end = at(std::array::from_fn(|i| if i == k { 1.0 } else { 0.0 }));
        std::array::from_fn(|i| end[i] - origin[i])
    });
    let rounded = steps.map(|step| step.map(f64::round));
    let total = |values: [f64; 3]| values.iter().map(|v| v.abs()).sum::<f64>();
    let permuted = rounded.iter().all(|&step| total(step) == 1.0)
        && (0..3).all(|i| total(std::array::from_fn(|k| rounded[k][i])) == 1.0);
    if !permuted {
        return Err(other(from, to, "axes or spacing differ"));
    }
    let start = origin.map(f64::round);
    for corner in 0..8u8 {
        let index: [f64; 3] = std::array::from_fn(|k| if corner >> k & 1 == 1 { last[k] } else { 0.0 });
        let exact = at(index);
        let off = (0..3).map(|i| {
            let near = start[i] + (0..3).map(|k| rounded[k][i] * index[k]).sum::<f64>();
            (exact[i] - near).abs()
        });
        let off = off.fold(0.0, f64::max);
        if off.is_nan() || off > APART {
            return Err(other(from, to, &format!("a corner is {off:.3} voxels off")));
        }
    }
    Ok((start.map(|v| v as i64), rounded.map(|step| step.map(|v| v as i64))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AxisCode, reorient_labels};

    fn drawn() -> LabelMap {
        let data = Array3::from_shape_fn((3, 4, 5), |(z, y, x)| (z * 20 + y * 5 + x) as i16 % 7);
        let direction = [[0.8, -0.36, -0.48], [0.6, 0.48, 0.64], [0.0, -0.8, 0.6]];
        let geometry = Geometry {
            spacing: [2.5, 0.75, 0.5],
            origin: [-20.5, 11.25, 40.0],
            direction,
            ..Geometry::default()
        };
        LabelMap { data, geometry }
    }

    #[test]
    fn turned_labels_come_back_to_their_grid() {
        let labels = drawn();
        for code in ["RAS", "LPI", "SAR", "PIL"] {
            let turned = reorient_labels(labels.clone(), code.parse().unwrap()).unwrap();
            assert_ne!(turned.data, labels.data, "{code}");
            let placed = place_labels(&turned, &labels.geometry, [3, 4, 5]).unwrap();
            assert_eq!(placed.data, labels.data, "{code}");
        }
        let _ = AxisCode::RAS;
    }

    #[test]
    fn a_part_is_put_in_its_place_and_other_voxels_are_refused() {
        let labels = drawn();
        let mut part = labels.clone();
        part.data = labels.data.slice(ndarray::s![1.., .., ..]).to_owned();
        let step = 2.5;
        part.geometry.origin =
            std::array::from_fn(|row| labels.geometry.origin[row] + step * labels.geometry.direction[row][2]);
        let placed = place_labels(&part, &labels.geometry, [3, 4, 5]).unwrap();
        assert_eq!(placed.data.slice(ndarray::s![1.., .., ..]), part.data);
        assert!(placed.data.slice(ndarray::s![0, .., ..]).iter().all(|&v| v == 0));
        let outside = place_labels(&labels, &part.geometry, [2, 4, 5]).unwrap_err().to_string();
        assert!(outside.contains("outside"), "{outside}");
        part.geometry.spacing[0] = 5.0;
        assert!(
            place_labels(&part, &labels.geometry, [3, 4, 5])
                .unwrap_err()
                .to_string()
                .contains("axes or spacing")
        );
        part.geometry = labels.geometry.clone();
        part.geometry.origin[0] += 0.25;
        assert!(
            place_labels(&part, &labels.geometry, [3, 4, 5]).unwrap_err().to_string().contains("voxels off")
        );
    }
}
