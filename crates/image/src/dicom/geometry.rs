//! Slices in order, checked to make a regular grid.

use super::slices::Slice;
use crate::{Geometry, ImageError};

/// How far direction cosines of slices may differ.
const COSINES: f64 = 1e-4;
/// How far the distances of neighbouring slices may differ from their median, as a part of it.
const UNEVEN: f64 = 0.02;
/// How far a slice may be from its place in an even stack, as a part of their distance.
const DRIFT: f64 = 0.1;
/// Positions are given with few digits: differences below this many millimetres are nothing.
const ROUNDING: f64 = 2e-3;
/// How far slices may shift sideways, as a part of the way along the normal; a tilt of 0.1 degrees.
const SHIFT: f64 = 2e-3;

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn minus(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn scaled(a: [f64; 3], by: f64) -> [f64; 3] {
    a.map(|v| v * by)
}

/// Unit vectors at right angles, if these nearly are.
pub(super) fn unit_axes([row, column]: [[f64; 3]; 2]) -> Option<[[f64; 3]; 2]> {
    let near = |value: f64, expected: f64| (value - expected).abs() <= 1e-2;
    if !near(dot(row, row), 1.0) || !near(dot(column, column), 1.0) || !near(dot(row, column), 0.0) {
        return None;
    }
    let row = scaled(row, 1.0 / dot(row, row).sqrt());
    let column = minus(column, scaled(row, dot(row, column)));
    Some([row, scaled(column, 1.0 / dot(column, column).sqrt())])
}

/// The slices from first to last, and the frame that they make.
pub(super) fn arrange(slices: &[Slice]) -> Result<(Vec<&Slice>, Geometry), ImageError> {
    let Some(first) = slices.first() else {
        return Err(ImageError::Orientation("there is no slice".to_owned()));
    };
    for other in slices {
        same_plane(first, other)?;
    }
    let normal = cross(first.axes[0], first.axes[1]);
    let along = |slice: &Slice| dot(slice.position, normal);
    let mut order: Vec<&Slice> = slices.iter().collect();
    order.sort_by(|a, b| along(a).total_cmp(&along(b)));
    let step = match order.as_slice() {
        [only] => only.thickness.ok_or_else(|| {
            let reason = "(0018,0088) Spacing Between Slices and (0018,0050) Slice Thickness: one of them is needed \
                 for a single slice, both are missing";
            ImageError::format(&only.path, reason)
        })?,
        [low, .., high] => {
            regular(&order, normal)?;
            let way = minus(high.position, low.position);
            dot(way, way).sqrt() / (order.len() - 1) as f64
        }
        [] => 1.0,
    };
    let columns = [first.axes[0], first.axes[1], normal];
    let geometry = Geometry {
        spacing: [step, first.spacing[0], first.spacing[1]],
        origin: order[0].position,
        direction: std::array::from_fn(|row| columns.map(|column| column[row])),
        ..Geometry::default()
    };
    Ok((order, geometry))
}

pub(super) fn same_plane(first: &Slice, other: &Slice) -> Result<(), ImageError> {
    let differs = |tag: &str, found: String, expected: String| {
        let reason = format!("{tag} is {found}, that of {} is {expected}", first.path.display());
        Err(ImageError::format(&other.path, reason))
    };
    if (first.rows, first.columns) != (other.rows, other.columns) {
        let size = |s: &Slice| format!("{} × {}", s.rows, s.columns);
        return differs("(0028,0010) Rows × (0028,0011) Columns", size(other), size(first));
    }
    let apart = first.axes.as_flattened().iter().zip(other.axes.as_flattened()).map(|(a, b)| (a - b).abs());
    if apart.fold(0.0, f64::max) > COSINES {
        let axes = |s: &Slice| format!("{:?}", s.axes);
        return differs("(0020,0037) Image Orientation (Patient)", axes(other), axes(first));
    }
    if first.spacing.iter().zip(other.spacing).any(|(a, b)| (a - b).abs() > 1e-4 * a) {
        let spacing = |s: &Slice| format!("{:?}", s.spacing);
        return differs("(0028,0030) Pixel Spacing", spacing(other), spacing(first));
    }
    Ok(())
}

/// Whether two slices in one place are the same instance, found twice.
pub(super) fn is_copy(a: &Slice, b: &Slice) -> bool {
    let apart = a.position.iter().zip(b.position).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    (a.frame, &a.instance) == (b.frame, &b.instance) && a.path != b.path && apart <= ROUNDING
}

/// Refuses slices that are not stacked evenly along their normal; there are at least two.
fn regular(order: &[&Slice], normal: [f64; 3]) -> Result<(), ImageError> {
    let tag = "(0020,0032) Image Position (Patient)";
    let name = |slice: &Slice| format!("{} frame {}", slice.path.display(), slice.frame + 1);
    let steps: Vec<f64> =
        order.windows(2).map(|p| dot(minus(p[1].position, p[0].position), normal)).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    // Of two, the smaller: slices are missing more often than they are there between others.
    let median = sorted[(sorted.len() - 1) / 2];
    for (pair, &step) in order.windows(2).zip(&steps) {
        let place = format!("{tag}: between {} and {} the slices", name(pair[0]), name(pair[1]));
        let wrong = |reason: String| Err(ImageError::format(&pair[1].path, format!("{place} {reason}")));
        if step <= ROUNDING {
            return wrong("are in the same place".to_owned());
        }
        let times = step / median;
        if (step - median).abs() <= UNEVEN * median + ROUNDING {
            continue;
        }
        if times > 1.5 && (times - times.round()).abs() <= 2.0 * UNEVEN {
            let missing = times.round() - 1.0;
            return wrong(format!(
                "are {step:.4} mm apart, elsewhere {median:.4} mm: {missing} seem to be missing"
            ));
        }
        return wrong(format!("are {step:.4} mm apart, elsewhere {median:.4} mm: expected even spacing"));
    }
    let (low, high) = (order[0], order[order.len() - 1]);
    let way = minus(high.position, low.position);
    let axial = dot(way, normal);
    let mean = axial / (order.len() - 1) as f64;
    for (number, slice) in order.iter().enumerate() {
        let off = dot(minus(slice.position, low.position), normal) - number as f64 * mean;
        if off.abs() > DRIFT * mean + ROUNDING {
            let reason = format!(
                "{tag}: {} is {off:.4} mm off the place that even spacing of {mean:.4} mm gives it",
                name(slice)
            );
            return Err(ImageError::format(&slice.path, reason));
        }
    }
    let side = minus(way, scaled(normal, axial));
    let shift = dot(side, side).sqrt();
    if shift > SHIFT * axial + ROUNDING {
        let angle = (shift / axial).atan().to_degrees();
        let reason = format!(
            "{tag}: from {} to {} the slices shift sideways by {shift:.3} mm: a tilted gantry ({angle:.2} degrees) is \
             not supported",
            name(low),
            name(high)
        );
        return Err(ImageError::format(&high.path, reason));
    }
    Ok(())
}
