//! Header to geometry.

use std::path::Path;

use nifti::NiftiHeader;

use super::decode::Header;
use crate::{Geometry, ImageError};

/// Largest departure of direction cosines from an orthonormal frame.
const TOLERANCE: f64 = 1e-3;

/// Spacing as it stands in the header, directions and origin where they are sound.
pub(super) fn nibabel(header: &Header) -> Geometry {
    let h = &header.inner;
    let spacing = [3, 2, 1].map(|axis| f64::from(h.pixdim[axis]).abs());
    let columns = if h.sform_code > 0 { sform(h) } else { qform(h) };
    let (direction, origin) = orient(columns).unwrap_or((Geometry::default().direction, [0.0; 3]));
    Geometry { spacing, origin, direction, dims: 3 }
}

/// Spacing in millimetres; frame from the sform if it is scanner-based, else the qform, else any sform.
pub(super) fn simple_itk(header: &Header, path: &Path) -> Result<Geometry, ImageError> {
    let h = &header.inner;
    let unit = match h.xyzt_units & 7 {
        1 => 1e3,
        3 => 1e-3,
        _ => 1.0,
    };
    let spacing = [3, 2, 1].map(|axis| {
        let value = f64::from(h.pixdim[axis]).abs() * unit;
        if value > 0.0 && axis <= usize::from(h.dim[0]) { value } else { 1.0 }
    });
    if spacing.iter().any(|s| !s.is_finite()) {
        return Err(ImageError::format(path, format!("pixdim is {:?}: not finite", &h.pixdim[1..4])));
    }
    let sound_sform = (h.sform_code > 0).then(|| orient(sform(h))).flatten();
    let frame = match (h.sform_code, h.qform_code) {
        (1, _) if sound_sform.is_some() => sound_sform,
        (_, 1..) => orient(qform(h)),
        (1.., _) => sound_sform,
        _ => Some(([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3])),
    };
    let Some((direction, origin)) = frame else {
        return Err(ImageError::format(path, "the axes of the image are not orthogonal (sheared affine)"));
    };
    Ok(Geometry { spacing, origin: origin.map(|v| v * unit), direction, dims: 3 })
}

/// Rows of the affine (RAS) in the sform.
fn sform(h: &NiftiHeader) -> [[f64; 4]; 3] {
    [h.srow_x, h.srow_y, h.srow_z].map(|row| row.map(f64::from))
}

/// Rows of the affine (RAS) that the quaternion gives.
fn qform(h: &NiftiHeader) -> [[f64; 4]; 3] {
    let [mut b, mut c, mut d] = [h.quatern_b, h.quatern_c, h.quatern_d].map(f64::from);
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
    let zooms = [1, 2, 3].map(|axis| f64::from(h.pixdim[axis]).abs());
    let offsets = [h.quatern_x, h.quatern_y, h.quatern_z].map(f64::from);
    std::array::from_fn(|row| {
        let r = rotation[row];
        [r[0] * zooms[0], r[1] * zooms[1], r[2] * zooms[2] * flip, offsets[row]]
    })
}

/// Direction cosines and origin (LPS), if the columns of the affine (RAS) are orthogonal.
fn orient(affine: [[f64; 4]; 3]) -> Option<([[f64; 3]; 3], [f64; 3])> {
    let column = |k: usize| [affine[0][k], affine[1][k], affine[2][k]];
    let mut direction = [[0.0; 3]; 3];
    for k in 0..3 {
        let c = column(k);
        let length = c.iter().map(|v| v * v).sum::<f64>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return None;
        }
        for row in 0..3 {
            direction[row][k] = if row < 2 { -c[row] / length } else { c[row] / length };
        }
    }
    for i in 0..3 {
        for j in 0..i {
            let dot: f64 = (0..3).map(|row| direction[row][i] * direction[row][j]).sum();
            if dot.abs() > TOLERANCE {
                return None;
            }
        }
    }
    Some((direction, [-affine[0][3], -affine[1][3], affine[2][3]]))
}
