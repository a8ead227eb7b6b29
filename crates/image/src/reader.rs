//! Readers of cases, chosen by file ending or by the name that plans carry.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Axis;

use crate::{Geometry, Image, ImageError, LabelMap};

/// Takes the values of a case while they are decoded, in the order (channel, z, y, x).
pub trait Parts<T> {
    /// What the next file holds, (channels, z, y, x); its values follow. With [`ControlFlow::Break`] nothing more is read.
    fn start(&mut self, shape: [usize; 4]) -> ControlFlow<()>;

    /// The next values, as many as there happen to be.
    fn take(&mut self, values: &[T]);
}

/// Reads the images of a case and reads and writes segmentations.
pub trait CaseReader: Send + Sync {
    /// The name that plans carry (`image_reader_writer`).
    fn name(&self) -> &'static str;

    /// Reads one file per channel, in order. The geometry is that of the first.
    ///
    /// # Errors
    /// A file that cannot be read, or channels whose shapes or spacings differ.
    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError>;

    /// Reads a segmentation as it is: `(1, z, y, x)`, with whatever values the file holds.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_segmentation(&self, path: &Path) -> Result<Image, ImageError> {
        self.read_images(std::slice::from_ref(&path.to_owned()))
    }

    /// Reads a segmentation whose values must be integers.
    ///
    /// # Errors
    /// The file cannot be read, or holds a value that is not an integer of 16 bits.
    fn read_labels(&self, path: &Path) -> Result<LabelMap, ImageError> {
        labels_of(path, self.read_segmentation(path)?)
    }

    /// Reads one file per channel, in order, and hands the values to `parts` without an array of all of them where the format
    /// allows it. Returns the geometry of the first; where there is an error, what `parts` was given counts for nothing.
    ///
    /// # Errors
    /// As [`CaseReader::read_images`].
    fn visit_images(&self, channels: &[PathBuf], parts: &mut dyn Parts<f32>) -> Result<Geometry, ImageError> {
        hand_on(self.read_images(channels)?, parts)
    }

    /// Reads a segmentation whose values must be integers and hands them to `parts`, as [`CaseReader::visit_images`] does.
    ///
    /// # Errors
    /// As [`CaseReader::read_labels`].
    fn visit_labels(&self, path: &Path, parts: &mut dyn Parts<i16>) -> Result<Geometry, ImageError> {
        hand_on_labels(self.read_labels(path)?, parts)
    }

    /// Writes a segmentation with its geometry, in 8 bits if its largest label is below 255 and in 16 bits otherwise.
    ///
    /// # Errors
    /// A negative label, or a file that cannot be written; no partial file is left.
    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), ImageError>;

    /// As [`CaseReader::read_images`], from files in memory: the name of each, whose ending tells the format, and its bytes.
    ///
    /// # Errors
    /// Bytes that cannot be read, channels that differ, or a format that is read from disk alone: all but NIfTI.
    fn read_bytes(&self, channels: &[(&str, &[u8])]) -> Result<Image, ImageError> {
        let name = channels.first().map_or("image", |(name, _)| name);
        let reason = format!("{} reads files on disk alone", self.name());
        Err(ImageError::Format { path: name.into(), reason })
    }

    /// The bytes that [`CaseReader::write_labels`] would write to a file of this name.
    ///
    /// # Errors
    /// A negative label, or a format that is written to disk alone: all but NIfTI.
    fn labels_to_bytes(&self, name: &str, labels: &LabelMap) -> Result<Vec<u8>, ImageError> {
        let _ = labels;
        let reason = format!("{} writes files on disk alone", self.name());
        Err(ImageError::Format { path: name.into(), reason })
    }
}

/// Whether a value is an integer of 16 bits.
pub(crate) fn is_label(v: f32) -> bool {
    v.fract() == 0.0 && (f32::from(i16::MIN)..=f32::from(i16::MAX)).contains(&v)
}

/// Refuses a segmentation of several channels.
pub(crate) fn one_channel(path: &Path, [channels, ..]: [usize; 4]) -> Result<(), ImageError> {
    if channels == 1 {
        return Ok(());
    }
    let reason = format!("a segmentation has one channel, found {channels}");
    Err(ImageError::Format { path: path.to_owned(), reason })
}

/// The labels of an image whose values must be integers of 16 bits.
pub(crate) fn labels_of(path: &Path, image: Image) -> Result<LabelMap, ImageError> {
    let Image { data, geometry } = image;
    one_channel(path, data.dim().into())?;
    let data = data.index_axis_move(Axis(0), 0);
    if !data.iter().all(|&v| is_label(v)) {
        let found = data.indexed_iter().find(|(_, v)| !is_label(**v));
        let (voxel, value) = found.map_or(([0; 3], f32::NAN), |(voxel, &v)| (voxel.into(), v));
        return Err(ImageError::NotALabel { path: path.to_owned(), value, voxel });
    }
    Ok(LabelMap { data: data.mapv(|value| value as i16), geometry })
}

/// Hands a whole image on.
pub(crate) fn hand_on(image: Image, parts: &mut dyn Parts<f32>) -> Result<Geometry, ImageError> {
    if parts.start(image.data.dim().into()).is_continue() {
        parts.take(image.data.as_standard_layout().as_slice().unwrap_or_default());
    }
    Ok(image.geometry)
}

/// Hands a whole segmentation on.
pub(crate) fn hand_on_labels(labels: LabelMap, parts: &mut dyn Parts<i16>) -> Result<Geometry, ImageError> {
    let (z, y, x) = labels.data.dim();
    if parts.start([1, z, y, x]).is_continue() {
        parts.take(labels.data.as_standard_layout().as_slice().unwrap_or_default());
    }
    Ok(labels.geometry)
}

/// The reader for files with this ending, as nnU-Net chooses it: candidates are tried in a fixed order, and one
/// qualifies if it knows the ending and can read the example.
///
/// # Errors
/// No reader that is compiled in qualifies; if the example could not be read, the error of the first candidate.
pub fn reader_for(file_ending: &str, example: Option<&Path>) -> Result<Arc<dyn CaseReader>, ImageError> {
    let mut failure = None;
    for (reader, endings) in readers() {
        if !endings.contains(&file_ending.to_lowercase().as_str()) {
            continue;
        }
        match example.map(|path| reader.read_images(&[path.to_owned()])) {
            Some(Err(error)) => failure = failure.or(Some(error)),
            _ => return Ok(reader),
        }
    }
    Err(failure
        .unwrap_or_else(|| ImageError::NoReader { what: file_ending.to_owned(), available: available() }))
}

/// The reader of this name: `NaturalImage2DIO`, `SimpleITKIO`, `Tiff3DIO`, `NibabelIO`, `NibabelIOWithReorient` or
/// `SimpleITKIOWithReorient`.
///
/// # Errors
/// No reader of this name is compiled in.
pub fn reader_by_name(name: &str) -> Result<Arc<dyn CaseReader>, ImageError> {
    readers()
        .into_iter()
        .map(|(reader, _)| reader)
        .find(|reader| reader.name() == name)
        .ok_or_else(|| ImageError::NoReader { what: name.to_owned(), available: available() })
}

type Entry = (Arc<dyn CaseReader>, &'static [&'static str]);

/// All readers that are compiled in with their endings, in nnU-Net's order. The last is chosen by name alone.
fn readers() -> Vec<Entry> {
    vec![
        #[cfg(feature = "natural")]
        (Arc::new(crate::natural::NaturalReader), crate::natural::ENDINGS),
        #[cfg(feature = "stored")]
        (Arc::new(crate::itk::SimpleItkReader { turn: false }), crate::itk::ENDINGS),
        #[cfg(feature = "tiff")]
        (Arc::new(crate::tiff::TiffReader), crate::tiff::ENDINGS),
        #[cfg(feature = "nifti")]
        (Arc::new(crate::nifti::NibabelReader { turn: false }), crate::nifti::ENDINGS),
        #[cfg(feature = "nifti")]
        (Arc::new(crate::nifti::NibabelReader { turn: true }), crate::nifti::ENDINGS),
        #[cfg(feature = "stored")]
        (Arc::new(crate::itk::SimpleItkReader { turn: true }), &[]),
    ]
}

fn available() -> String {
    let list: Vec<String> = readers()
        .iter()
        .map(|(reader, endings)| format!("{} ({})", reader.name(), endings.join(" ")))
        .collect();
    if list.is_empty() { "none (no codec is compiled in)".to_owned() } else { list.join(", ") }
}
