//! Which way the axes of an image point, and turning images by permuting and mirroring axes.

use std::fmt;
use std::str::FromStr;

use ndarray::{Array, Array3, Array4, Axis, Dimension};

use crate::geometry::determinant;
use crate::{Geometry, Image, ImageError, LabelMap};

/// Letters of the two ends of the axes x, y, z of space: what the coordinate grows towards comes first.
const LETTERS: [[char; 2]; 3] = [['L', 'R'], ['P', 'A'], ['S', 'I']];

/// Which way the axes x, y, z of an array point: `RAS` means that x grows towards the right of the patient, y towards the
/// front (anterior), z upwards (superior).
///
/// nibabel and the DICOM orientations of ITK name axes in this way too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AxisCode {
    /// Which axis of space each index axis runs along.
    axes: [u8; 3],
    /// Whether it runs against the LPS axis.
    against: [bool; 3],
}

impl AxisCode {
    /// Right, anterior, superior: what the reorienting readers turn images to.
    pub const RAS: Self = Self { axes: [0, 1, 2], against: [true, true, false] };
    /// Left, posterior, superior: what DICOM and ITK call identity.
    pub const LPS: Self = Self { axes: [0, 1, 2], against: [false; 3] };

    /// The orientation that comes closest to a geometry, as ITK finds it: the largest direction cosine decides first.
    ///
    /// # Errors
    /// A 2-D image, or directions that are not finite or do not span space.
    pub fn of(geometry: &Geometry) -> Result<Self, ImageError> {
        if geometry.dims != 3 {
            return Err(ImageError::Orientation("a 2-D image has no orientation in space".to_owned()));
        }
        frame(&geometry.direction)?;
        let mut found = Self::LPS;
        let mut left: Vec<(usize, usize)> = (0..9).map(|i| (i / 3, i % 3)).collect();
        while let Some(&first) = left.first() {
            let size = |&(row, column): &(usize, usize)| geometry.direction[row][column].abs();
            let (row, column) = left.iter().fold(first, |a, b| if size(b) >= size(&a) { *b } else { a });
            found.axes[column] = row as u8;
            found.against[column] = geometry.direction[row][column] < 0.0;
            left.retain(|&(r, c)| r != row && c != column);
        }
        Ok(found)
    }

    /// For each axis x, y, z of `to`, the axis of `self` that lies along it, and whether it runs the other way.
    fn steps(self, to: Self) -> [(usize, bool); 3] {
        [0, 1, 2].map(|axis| {
            let from = (0..3).find(|&k| self.axes[k] == to.axes[axis]).unwrap_or(axis);
            (from, self.against[from] != to.against[axis])
        })
    }
}

impl fmt::Display for AxisCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |k: usize| LETTERS[usize::from(self.axes[k])][usize::from(self.against[k])];
        (0..3).try_for_each(|k| write!(f, "{}", letter(k)))
    }
}

impl FromStr for AxisCode {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = || {
            let text = format!("{text:?} is no orientation; expected one each of R/L, A/P and S/I, like RAS");
            ImageError::Orientation(text)
        };
        let letters: Vec<char> = text.chars().collect();
        let mut code = Self::LPS;
        let mut seen = [false; 3];
        for (k, letter) in letters.iter().enumerate().take(3) {
            let axis = LETTERS.iter().position(|pair| pair.contains(letter)).ok_or_else(wrong)?;
            code.axes[k] = axis as u8;
            code.against[k] = LETTERS[axis][1] == *letter;
            seen[axis] = true;
        }
        if letters.len() == 3 && seen == [true; 3] { Ok(code) } else { Err(wrong()) }
    }
}

fn frame(direction: &[[f64; 3]; 3]) -> Result<(), ImageError> {
    let found = determinant(direction);
    if found.is_finite() && found.abs() > 1e-9 {
        return Ok(());
    }
    Err(ImageError::Orientation(format!("direction {direction:?} does not span space")))
}

/// Turns an image by permuting and mirroring its axes so that they point as `to` says, as nearly as that can be done without
/// resampling. Voxels keep their place in space.
///
/// ```
/// use ndarray::Array4;
/// use nnunet_image::{AxisCode, Geometry, Image, reorient_image};
///
/// let image = Image { data: Array4::zeros((1, 2, 3, 4)), geometry: Geometry::default() };
/// assert_eq!(AxisCode::of(&image.geometry)?, AxisCode::LPS);
/// let turned = reorient_image(image.clone(), "SAR".parse()?)?;
/// assert_eq!(turned.data.dim(), (1, 4, 3, 2));
/// assert_eq!(reorient_image(turned, AxisCode::LPS)?, image);
/// # Ok::<(), nnunet_image::ImageError>(())
/// ```
///
/// # Errors
/// As [`AxisCode::of`].
pub fn reorient_image(image: Image, to: AxisCode) -> Result<Image, ImageError> {
    let from = AxisCode::of(&image.geometry)?;
    Ok(turn_image(image, from, to))
}

/// Turns a segmentation; see [`reorient_image`].
///
/// # Errors
/// As [`AxisCode::of`].
pub fn reorient_labels(labels: LabelMap, to: AxisCode) -> Result<LabelMap, ImageError> {
    let from = AxisCode::of(&labels.geometry)?;
    Ok(turn_labels(labels, from, to))
}

/// Turns an image whose axes point as `from` says.
pub(crate) fn turn_image(image: Image, from: AxisCode, to: AxisCode) -> Image {
    if from == to {
        return image;
    }
    let steps = from.steps(to);
    let (_, z, y, x) = image.data.dim();
    let geometry = turn_geometry(&image.geometry, [x, y, z], steps);
    let order = steps.map(|(axis, _)| 3 - axis);
    let mut data = image.data.permuted_axes([0, order[2], order[1], order[0]]);
    mirror(&mut data, steps, 3);
    let data: Array4<f32> = data.as_standard_layout().into_owned();
    Image { data, geometry }
}

/// Turns a segmentation whose axes point as `from` says.
pub(crate) fn turn_labels(labels: LabelMap, from: AxisCode, to: AxisCode) -> LabelMap {
    if from == to {
        return labels;
    }
    let steps = from.steps(to);
    let (z, y, x) = labels.data.dim();
    let geometry = turn_geometry(&labels.geometry, [x, y, z], steps);
    let order = steps.map(|(axis, _)| 2 - axis);
    let mut data = labels.data.permuted_axes([order[2], order[1], order[0]]);
    mirror(&mut data, steps, 2);
    let data: Array3<i16> = data.as_standard_layout().into_owned();
    LabelMap { data, geometry }
}

/// Mirrors the axes that run the other way; array axis `x` is that of the index axis x.
fn mirror<T, D: Dimension>(data: &mut Array<T, D>, steps: [(usize, bool); 3], x: usize) {
    for (k, (_, against)) in steps.into_iter().enumerate() {
        if against {
            data.invert_axis(Axis(x - k));
        }
    }
}

/// `sizes` along x, y, z before turning.
fn turn_geometry(geometry: &Geometry, sizes: [usize; 3], steps: [(usize, bool); 3]) -> Geometry {
    let mut turned = Geometry { file_axes: None, ..geometry.clone() };
    for (k, (axis, against)) in steps.into_iter().enumerate() {
        let spacing = geometry.spacing[2 - axis];
        turned.spacing[2 - k] = spacing;
        for row in 0..3 {
            let cosine = geometry.direction[row][axis];
            turned.direction[row][k] = if against { -cosine } else { cosine };
            if against {
                turned.origin[row] += cosine * spacing * (sizes[axis] as f64 - 1.0);
            }
        }
    }
    turned
}

/// The orientation that comes closest to a geometry, as nibabel finds it: shears are taken out first, then each axis takes the
/// nearest of those that are left, the axis that is nearest to any comes first.
#[cfg(feature = "nifti")]
pub(crate) fn closest_axes(geometry: &Geometry) -> Option<AxisCode> {
    let rotation = without_shear(&geometry.direction)?;
    let mut order = [0, 1, 2];
    let nearest = |column: usize| rotation.iter().map(|row| row[column].abs()).fold(0.0, f64::max);
    order.sort_by(|&a, &b| nearest(b).total_cmp(&nearest(a)));
    let mut left = vec![0, 1, 2];
    let mut found = AxisCode::LPS;
    for column in order {
        let mut best = *left.first()?;
        for &row in &left {
            if rotation[row][column].abs() > rotation[best][column].abs() {
                best = row;
            }
        }
        found.axes[column] = best as u8;
        found.against[column] = rotation[best][column] < 0.0;
        left.retain(|&row| row != best);
    }
    Some(found)
}

/// The orthogonal matrix nearest to one with columns of unit length (its polar factor), by Newton's iteration.
#[cfg(feature = "nifti")]
fn without_shear(matrix: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let mut m = *matrix;
    for column in 0..3 {
        let length = m.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
        m.iter_mut().for_each(|row| row[column] /= length);
    }
    for _ in 0..60 {
        frame(&m).ok()?;
        let d = determinant(&m);
        // The inverse transposed: cofactors over the determinant.
        let cofactor = |i: usize, j: usize| {
            let (a, b, c, e) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
            (m[a][c] * m[b][e] - m[a][e] * m[b][c]) / d
        };
        let next: [[f64; 3]; 3] =
            std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (m[i][j] + cofactor(i, j))));
        let change = next.as_flattened().iter().zip(m.as_flattened()).map(|(a, b)| (a - b).abs());
        let done = change.fold(0.0, f64::max) < 1e-14;
        m = next;
        if done {
            break;
        }
    }
    Some(m)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> Vec<AxisCode> {
        let mut codes = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for flips in 0..8 {
                let letter = |k: usize| LETTERS[order[k]][flips >> k & 1];
                codes.push([letter(0), letter(1), letter(2)].iter().collect::<String>().parse().unwrap());
            }
        }
        codes
    }

    /// Position of a voxel (x, y, z) in millimetres.
    fn place(g: &Geometry, voxel: [usize; 3]) -> [f64; 3] {
        std::array::from_fn(|row| {
            let along = (0..3).map(|k| g.direction[row][k] * g.spacing[2 - k] * voxel[k] as f64);
            g.origin[row] + along.sum::<f64>()
        })
    }

    #[test]
    fn names_are_read_back_and_nonsense_is_refused() {
        for code in codes() {
            assert_eq!(code.to_string().parse::<AxisCode>().unwrap(), code);
        }
        for wrong in ["", "RA", "RASS", "RRS", "XYZ", "ras"] {
            assert!(wrong.parse::<AxisCode>().unwrap_err().to_string().contains("orientation"), "{wrong}");
        }
    }

    #[test]
    fn every_voxel_keeps_its_place_and_every_turn_has_a_way_back() {
        let tilt = [[0.9, -0.3, 0.1], [0.3, 0.94, -0.05], [-0.08, 0.07, 1.02]];
        let geometry = Geometry {
            spacing: [4.0, 1.3, 0.7],
            origin: [1.0, -2.0, 3.0],
            direction: tilt,
            ..Geometry::default()
        };
        let data = Array4::from_shape_fn((2, 2, 3, 4), |(c, z, y, x)| (100 * c + 24 * z + 6 * y + x) as f32);
        let image = Image { data, geometry };
        assert_eq!(AxisCode::of(&image.geometry).unwrap(), AxisCode::LPS);
        for code in codes() {
            let turned = reorient_image(image.clone(), code).unwrap();
            assert_eq!(AxisCode::of(&turned.geometry).unwrap(), code);
            assert!(turned.data.is_standard_layout());
            for ((c, z, y, x), &value) in turned.data.indexed_iter() {
                let source = image.data.indexed_iter().find(|(_, v)| **v == value).unwrap().0;
                assert_eq!(source.0, c);
                let (a, b) = (
                    place(&turned.geometry, [x, y, z]),
                    place(&image.geometry, [source.3, source.2, source.1]),
                );
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{code}: {a:?} {b:?}");
            }
            let back = reorient_image(turned, AxisCode::LPS).unwrap();
            assert_eq!(back.data, image.data);
            assert!(back.geometry.same_frame(&image.geometry) && back.geometry.same_spacing(&image.geometry));
        }
    }

    #[test]
    fn flat_and_degenerate_frames_have_no_orientation() {
        let flat = Geometry { dims: 2, ..Geometry::default() };
        let broken =
            Geometry { direction: [[1.0, 1.0, 0.0], [0.0; 3], [0.0, 0.0, 1.0]], ..Geometry::default() };
        let strange = Geometry { direction: [[f64::NAN; 3]; 3], ..Geometry::default() };
        for geometry in [flat, broken, strange] {
            assert!(AxisCode::of(&geometry).is_err(), "{geometry:?}");
        }
    }
}
