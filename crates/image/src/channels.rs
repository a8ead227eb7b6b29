//! Channels of a case from several files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ndarray::Array4;

use crate::{CaseReader, Geometry, Image, ImageError, Parts};

/// Reads each file and stacks what they hold. The geometry is that of the first; the others must have its shape and spacing.
pub(crate) fn stack(
    channels: &[PathBuf],
    read: impl Fn(&Path) -> Result<Image, ImageError>,
) -> Result<Image, ImageError> {
    let [first, others @ ..] = channels else {
        return Err(no_file());
    };
    let mut image = read(first)?;
    if others.is_empty() {
        return Ok(image);
    }
    let (each, z, y, x) = image.data.dim();
    let standard = |data: Array4<f32>| -> Vec<f32> {
        if !data.is_standard_layout() {
            return data.iter().copied().collect();
        }
        let length = data.len();
        let (mut values, offset) = data.into_raw_vec_and_offset();
        values.drain(..offset.unwrap_or(0));
        values.truncate(length);
        values
    };
    let mut values = standard(std::mem::take(&mut image.data));
    for other in others {
        let next = read(other)?;
        let found = (next.data.dim().into(), &next.geometry);
        compare(first, ([each, z, y, x], &image.geometry), other, found)?;
        let missing = (each * z * y * x * channels.len()).saturating_sub(values.len());
        values.try_reserve_exact(missing).map_err(|_| {
            ImageError::format(first, format!("not enough memory for {} channels", channels.len()))
        })?;
        values.extend(standard(next.data));
    }
    image.data = Array4::from_shape_vec((each * channels.len(), z, y, x), values)
        .map_err(|e| ImageError::format(first, format!("cannot stack channels: {e}")))?;
    Ok(image)
}

/// [`stack`] for files in memory, each with its name.
#[cfg(feature = "nifti")]
pub(crate) fn stack_bytes(
    channels: &[(&str, &[u8])],
    read: impl Fn(&Path, &[u8]) -> Result<Image, ImageError>,
) -> Result<Image, ImageError> {
    let names: Vec<PathBuf> = channels.iter().map(|(name, _)| PathBuf::from(name)).collect();
    // Files are read in their order, each once.
    let next = std::cell::Cell::new(0);
    stack(&names, |path| read(path, channels[next.replace(next.get() + 1)].1))
}

/// Shape (channels, z, y, x) and geometry of each file of a case. Where the format allows it, only headers are read.
///
/// [`CaseReader::read_images`] takes the geometry of the first file for all channels; this tells where that is not true.
///
/// # Errors
/// A file that cannot be read.
pub fn channel_geometries(
    reader: &dyn CaseReader,
    channels: &[PathBuf],
) -> Result<Vec<([usize; 4], Geometry)>, ImageError> {
    struct Shape([usize; 4]);
    impl Parts<f32> for Shape {
        fn start(&mut self, shape: [usize; 4]) -> ControlFlow<()> {
            self.0 = shape;
            ControlFlow::Break(())
        }

        fn take(&mut self, _: &[f32]) {}
    }
    let read = |path: &PathBuf| {
        let mut shape = Shape([0; 4]);
        let geometry = reader.visit_images(std::slice::from_ref(path), &mut shape)?;
        Ok((shape.0, geometry))
    };
    channels.iter().map(read).collect()
}

/// Refuses channels of which a voxel lies more than half its smallest edge from where the first file has it.
///
/// nnU-Net warns of such channels and stacks them all the same.
///
/// # Errors
/// A file that cannot be read, or lies elsewhere.
pub fn check_channel_places(reader: &dyn CaseReader, channels: &[PathBuf]) -> Result<(), ImageError> {
    if channels.len() < 2 {
        return Ok(());
    }
    let geometries = channel_geometries(reader, channels)?;
    let (shape, expected) = &geometries[0];
    let allowed = 0.5 * expected.spacing.iter().copied().fold(f64::INFINITY, f64::min);
    for (path, (_, found)) in channels.iter().zip(&geometries).skip(1) {
        // Other spacings are refused when the files are read.
        let found_here = Geometry { spacing: expected.spacing, ..found.clone() };
        if expected.largest_distance(&found_here, [shape[1], shape[2], shape[3]]) > allowed {
            let describe = |g: &Geometry| format!("{:?} with direction {:?}", g.origin, g.direction);
            return Err(ImageError::Mismatch {
                what: "origin (x, y, z) in mm",
                first: channels[0].clone(),
                other: path.clone(),
                expected: describe(expected),
                found: describe(found),
            });
        }
    }
    Ok(())
}

/// A case without files.
pub(crate) fn no_file() -> ImageError {
    ImageError::format(Path::new("image"), "there is no file named after the case and _0000, _0001, …")
}

/// Refuses a channel whose shape or spacing is not that of the first.
pub(crate) fn compare(
    first: &Path,
    (shape, geometry): ([usize; 4], &Geometry),
    other: &Path,
    (found, next): ([usize; 4], &Geometry),
) -> Result<(), ImageError> {
    let tuple = |[c, z, y, x]: [usize; 4]| (c, z, y, x);
    mismatch("shape (channels, z, y, x)", first, other, tuple(shape), tuple(found))?;
    if !next.same_spacing(geometry) {
        mismatch("spacing (z, y, x) in mm", first, other, geometry.spacing, next.spacing)?;
    }
    Ok(())
}

fn mismatch<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    first: &Path,
    other: &Path,
    expected: T,
    found: T,
) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::Mismatch {
        what,
        first: first.to_owned(),
        other: other.to_owned(),
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}

/// Whether labels need 16 bits: nnU-Net stores 8 if the largest is below 255. Negative labels are refused.
#[cfg(any(feature = "stored", feature = "tiff"))]
pub(crate) fn wide(path: &Path, labels: &crate::LabelMap) -> Result<bool, ImageError> {
    if let Some(&negative) = labels.data.iter().find(|&&label| label < 0) {
        let reason = format!("cannot write label {negative}: labels are written unsigned");
        return Err(ImageError::format(path, reason));
    }
    Ok(labels.data.iter().any(|&label| label >= 255))
}
