//! Header to geometry.

use std::path::Path;

use super::header::Header;
use crate::geometry::determinant;
use crate::{Geometry, ImageError};

/// Upper rows of an affine from voxel indices (x, y, z) to millimetres (RAS, as in the file). Single precision, because ITK
/// keeps it so.
type Affine = [[f32; 4]; 3];

/// How far normalised columns may be from orthonormal before a matrix counts as sheared.
const SKEW: f32 = 1e-4;

/// The frame as nibabel has it: spacing from the header, and directions that reproduce the affine, whatever it is.
///
/// The affine is the sform if its code is set, else the qform, else a centred one that flips x.
pub(super) fn nibabel(h: &Header, shape: &[usize]) -> Geometry {
    let zooms = [1, 2, 3].map(|axis| h.pixdim[axis].abs());
    let affine = match (h.sform_code, h.qform_code) {
        (1.., _) => h.rows,
        (_, 1..) => qform(h),
        _ => centred(zooms, shape),
    };
    let mut geometry = Geometry { spacing: [zooms[2], zooms[1], zooms[0]], ..Geometry::default() };
    for (row, values) in affine.iter().enumerate() {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for axis in 0..3 {
            let zoom = if zooms[axis] > 0.0 { zooms[axis] } else { 1.0 };
            geometry.direction[row][axis] = sign * values[axis] / zoom;
        }
        geometry.origin[row] = sign * values[3];
    }
    geometry
}

/// Takes the spacing from the affine, as nibabel does when it turns an image; the affine stays.
pub(super) fn rezoom(geometry: &mut Geometry, version: u8) {
    for column in 0..3 {
        let old = geometry.spacing[2 - column];
        let old = if old > 0.0 { old } else { 1.0 };
        let length = geometry.direction.iter().map(|row| (row[column] * old).powi(2)).sum::<f64>().sqrt();
        let new = if version == 1 { f64::from(length as f32) } else { length };
        if new > 0.0 {
            geometry.direction.iter_mut().for_each(|row| row[column] *= old / new);
            geometry.spacing[2 - column] = new;
        }
    }
}

fn centred(zooms: [f64; 3], shape: &[usize]) -> [[f64; 4]; 3] {
    let mut rows = [[0.0; 4]; 3];
    for (axis, row) in rows.iter_mut().enumerate() {
        row[axis] = if axis == 0 { -zooms[axis] } else { zooms[axis] };
        row[3] = -row[axis] * (shape.get(axis).map_or(0, |n| n - 1) as f64) / 2.0;
    }
    rows
}

/// The frame as ITK has it: spacing in millimetres, orthonormal directions. `axes` is the number of axes in the file.
pub(super) fn simple_itk(h: &Header, axes: usize, path: &Path) -> Result<Geometry, ImageError> {
    let unit = match h.units & 7 {
        1 => 1e3,
        3 => 1e-3,
        _ => 1.0,
    };
    let spacing = [3, 2, 1].map(|axis| {
        let value = h.pixdim[axis].abs() * unit;
        if value > 0.0 && axis <= h.sizes.len() { value } else { 1.0 }
    });
    if spacing.iter().any(|s| !s.is_finite()) {
        return Err(ImageError::format(path, format!("pixdim is {:?}: not finite", &h.pixdim[1..4])));
    }
    let mut geometry = Geometry { spacing, ..Geometry::default() };
    if h.sform_code <= 0 && h.qform_code <= 0 {
        return Ok(geometry);
    }
    let Some(affine) = choose(h) else {
        return Err(ImageError::format(path, "the axes of the image are not orthogonal (sheared affine)"));
    };
    // A flat image keeps the part of the directions that lies in its plane.
    let axes = axes.min(3);
    // ITK counts x and y the other way round.
    let affine: [[f64; 4]; 3] = std::array::from_fn(|row| {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        affine[row].map(|v| sign * f64::from(v))
    });
    for column in 0..axes {
        let norm = affine[..axes].iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
        for (target, row) in geometry.direction[..axes].iter_mut().zip(&affine) {
            target[column] = row[column] / if norm > 0.0 { norm } else { 1.0 };
        }
    }
    for (target, row) in geometry.origin[..axes].iter_mut().zip(&affine) {
        *target = row[3] * unit;
    }
    let found = determinant(&geometry.direction);
    if !(found.is_finite() && found != 0.0) || geometry.origin.iter().any(|v| !v.is_finite()) {
        let reason = format!("direction {:?} at {:?} is no frame", geometry.direction, geometry.origin);
        return Err(ImageError::format(path, reason));
    }
    Ok(geometry)
}

/// Sform or qform, by ITK's rules: the sform if it has no shear and either is the only one, is scanner-based, or hardly
/// differs from the qform.
fn choose(h: &Header) -> Option<Affine> {
    let single = |rows: [[f64; 4]; 3]| rows.map(|row| row.map(|v| v as f32));
    let (s, q) = (single(h.rows), single(qform(h)));
    let qform_known = h.qform_code > 0;
    let prefer_sform =
        h.sform_code > 0 && unskewed(&s) && (!qform_known || h.sform_code == 1 || similar(&s, &q));
    if prefer_sform { Some(s) } else { qform_known.then_some(q) }
}

/// Rows of the affine that the quaternion gives.
fn qform(h: &Header) -> [[f64; 4]; 3] {
    let [mut b, mut c, mut d] = h.quaternion;
    let mut a = 1.0 - (b * b + c * c + d * d);
    if a < 1e-7 {
        let norm = 1.0 / (b * b + c * c + d * d).sqrt();
        (b, c, d) = (b * norm, c * norm, d * norm);
        a = 0.0;
    } else {
        a = a.sqrt();
    }
    let flip = if h.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
    ];
    let zooms = [1, 2, 3].map(|axis| {
        let zoom = h.pixdim[axis].abs();
        if zoom > 0.0 { zoom } else { 1.0 }
    });
    std::array::from_fn(|row| {
        let r = rotation[row];
        [r[0] * zooms[0], r[1] * zooms[1], r[2] * zooms[2] * flip, h.offsets[row]]
    })
}

/// Length of a column.
fn length(affine: &Affine, column: usize) -> f32 {
    affine.iter().map(|row| row[column] * row[column]).sum::<f32>().sqrt()
}

/// Whether the columns are orthogonal.
fn unskewed(affine: &Affine) -> bool {
    let lengths = [0, 1, 2].map(|column| length(affine, column));
    if lengths.iter().any(|&l| !l.is_finite() || l == 0.0) {
        return false;
    }
    let r = affine.map(|row| [0, 1, 2].map(|column| row[column] / lengths[column]));
    (0..3).all(|i| {
        (0..3).all(|j| {
            let dot: f32 = (0..3).map(|k| r[i][k] * r[j][k]).sum();
            (dot - if i == j { 1.0 } else { 0.0 }).abs() <= SKEW
        })
    })
}

/// Whether scales, directions and offsets agree within the tolerance that ITK has, which does not see which way the slices
/// are counted.
fn similar(s: &Affine, q: &Affine) -> bool {
    let close = |a: f32, b: f32| (a - b).abs() <= SKEW;
    let column = |k: usize, sign: f32| {
        let (ls, lq) = (length(s, k), length(q, k));
        close(ls, lq) && (0..3).all(|row| close(s[row][k] / ls, sign * q[row][k] / lq))
    };
    column(0, 1.0)
        && column(1, 1.0)
        && (column(2, 1.0) || column(2, -1.0))
        && (0..3).all(|row| close(s[row][3], q[row][3]))
}
