//! What a file says of each of its frames.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject};

use crate::ImageError;

/// More frames of an image than this in one file are taken for a lie.
pub(super) const MOST_FRAMES: u32 = 1 << 16;

/// One frame and its place.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) path: PathBuf,
    pub(super) frame: u32,
    /// Number of frames of its file.
    pub(super) frames: u32,
    /// SOP Class UID and SOP Instance UID of its file.
    pub(super) class: Arc<str>,
    pub(super) instance: Arc<str>,
    pub(super) rows: u32,
    pub(super) columns: u32,
    /// Position of its first voxel (LPS).
    pub(super) position: [f64; 3],
    /// Directions of its rows and of its columns.
    pub(super) axes: [[f64; 3]; 2],
    /// Distance between rows, between columns.
    pub(super) spacing: [f64; 2],
    /// Distance to the next slice as the file says it.
    pub(super) between: Option<f64>,
    /// The same, or else the thickness of the slice.
    pub(super) thickness: Option<f64>,
    pub(super) slope: f64,
    pub(super) intercept: f64,
}

/// A file and the data set (or the item in it) that is looked at.
struct Elements<'a> {
    path: &'a Path,
    /// From the most special to the most general.
    sets: Vec<&'a InMemDicomObject>,
    about: &'a About,
}

/// What all frames of a file share.
struct About {
    class: Arc<str>,
    instance: Arc<str>,
    frames: u32,
}

/// The frames of a file, `most` at most.
pub(super) fn of(path: &Path, object: &DefaultDicomObject, most: u32) -> Result<Vec<Slice>, ImageError> {
    let uid = |tag: Tag| Arc::from(super::uid(&super::text(object, tag)));
    let about = About { class: uid(tags::SOP_CLASS_UID), instance: uid(tags::SOP_INSTANCE_UID), frames: 1 };
    let whole = Elements { path, sets: vec![object], about: &about };
    let frames = match whole.numbers(tags::NUMBER_OF_FRAMES)?.as_deref() {
        None | Some([]) => 1,
        Some(&[n, ..]) if n >= 1.0 && n <= f64::from(most) => n as u32,
        Some(other) => {
            let reason = format!("expected 1 to {most}, found {other:?}");
            return Err(whole.wrong(tags::NUMBER_OF_FRAMES, "Number of Frames", &reason));
        }
    };
    let shared = whole.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let each = whole.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if each.is_empty() && shared.is_empty() && frames == 1 {
        return Ok(vec![whole.slice(0)?]);
    }
    if each.len() != frames as usize {
        let reason = format!("expected one item per frame, {frames}, found {}", each.len());
        return Err(whole.wrong(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            "Per-Frame Functional Groups Sequence",
            &reason,
        ));
    }
    let about = &About { class: about.class.clone(), instance: about.instance.clone(), frames };
    let groups = [
        tags::PLANE_POSITION_SEQUENCE,
        tags::PLANE_ORIENTATION_SEQUENCE,
        tags::PIXEL_MEASURES_SEQUENCE,
        tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    ];
    (0..frames)
        .map(|frame| {
            let mut sets: Vec<&InMemDicomObject> = Vec::new();
            for item in each.get(frame as usize).into_iter().chain(shared.first()) {
                let item = Elements { path, sets: vec![item], about };
                sets.extend(groups.iter().filter_map(|group| item.items(*group).first()));
            }
            sets.push(object);
            Elements { path, sets, about }.slice(frame)
        })
        .collect()
}

impl<'a> Elements<'a> {
    fn wrong(&self, tag: Tag, name: &str, reason: &str) -> ImageError {
        ImageError::format(self.path, format!("{tag} {name}: {reason}"))
    }

    fn items(&self, tag: Tag) -> &'a [InMemDicomObject] {
        self.sets.iter().find_map(|set| set.get(tag)?.items()).unwrap_or_default()
    }

    /// Numbers of an element, if it is there.
    fn numbers(&self, tag: Tag) -> Result<Option<Vec<f64>>, ImageError> {
        let Some(element) = self.sets.iter().find_map(|set| set.get(tag)) else { return Ok(None) };
        let numbers = element.to_multi_float64();
        numbers.map(Some).map_err(|_| self.wrong(tag, "", "expected numbers"))
    }

    /// `N` finite numbers.
    fn need<const N: usize>(&self, tag: Tag, name: &str) -> Result<[f64; N], ImageError> {
        let found = self.numbers(tag)?.unwrap_or_default();
        let numbers =
            found.first_chunk::<N>().filter(|n| found.len() == N && n.iter().all(|v| v.is_finite()));
        numbers.copied().ok_or_else(|| {
            let expected = format!("expected {N} finite numbers, ");
            let found =
                if found.is_empty() { "it is missing".to_owned() } else { format!("found {found:?}") };
            self.wrong(tag, name, &(expected + &found))
        })
    }

    fn one(&self, tag: Tag) -> Result<Option<f64>, ImageError> {
        Ok(self.numbers(tag)?.and_then(|n| n.first().copied()).filter(|v| v.is_finite()))
    }

    /// A factor or summand of all values; nothing is 1 or 0.
    fn scale(&self, tag: Tag, name: &str, otherwise: f64) -> Result<f64, ImageError> {
        let Some(&value) = self.numbers(tag)?.unwrap_or_default().first() else { return Ok(otherwise) };
        if !value.is_finite() || (value == 0.0 && otherwise != 0.0) {
            let what = if otherwise == 0.0 { "a finite number" } else { "a finite number other than 0" };
            return Err(self.wrong(tag, name, &format!("expected {what}, found {value}")));
        }
        Ok(value)
    }

    fn size(&self, tag: Tag, name: &str) -> Result<u32, ImageError> {
        let [size] = self.need(tag, name)?;
        match size as u32 {
            0 => Err(self.wrong(tag, name, "expected at least 1, found 0")),
            size => Ok(size),
        }
    }

    fn slice(&self, frame: u32) -> Result<Slice, ImageError> {
        let [samples] = self.need(tags::SAMPLES_PER_PIXEL, "Samples per Pixel")?;
        if samples != 1.0 {
            let reason = format!("expected 1, grey, found {samples}");
            return Err(self.wrong(tags::SAMPLES_PER_PIXEL, "Samples per Pixel", &reason));
        }
        if self.sets.iter().any(|set| set.get(tags::MODALITY_LUT_SEQUENCE).is_some()) {
            let reason = "a table of values is not supported, slope and intercept are";
            return Err(self.wrong(tags::MODALITY_LUT_SEQUENCE, "Modality LUT Sequence", reason));
        }
        let a: [f64; 6] = self.need(tags::IMAGE_ORIENTATION_PATIENT, "Image Orientation (Patient)")?;
        let spacing: [f64; 2] = self.need(tags::PIXEL_SPACING, "Pixel Spacing")?;
        if spacing.iter().any(|s| *s <= 0.0) {
            let reason = format!("expected two numbers above 0, found {spacing:?}");
            return Err(self.wrong(tags::PIXEL_SPACING, "Pixel Spacing", &reason));
        }
        let axes = super::geometry::unit_axes([[a[0], a[1], a[2]], [a[3], a[4], a[5]]]).ok_or_else(|| {
            let reason = format!("expected two unit vectors at right angles, found {a:?}");
            self.wrong(tags::IMAGE_ORIENTATION_PATIENT, "Image Orientation (Patient)", &reason)
        })?;
        let between = self.one(tags::SPACING_BETWEEN_SLICES)?.map(f64::abs);
        let thickness = self.one(tags::SLICE_THICKNESS)?;
        Ok(Slice {
            path: self.path.to_owned(),
            frame,
            frames: self.about.frames,
            class: self.about.class.clone(),
            instance: self.about.instance.clone(),
            rows: self.size(tags::ROWS, "Rows")?,
            columns: self.size(tags::COLUMNS, "Columns")?,
            position: self.need(tags::IMAGE_POSITION_PATIENT, "Image Position (Patient)")?,
            axes,
            spacing,
            between: between.filter(|v| *v > 0.0),
            thickness: between.or(thickness).filter(|v| *v > 0.0),
            slope: self.scale(tags::RESCALE_SLOPE, "Rescale Slope", 1.0)?,
            intercept: self.scale(tags::RESCALE_INTERCEPT, "Rescale Intercept", 0.0)?,
        })
    }
}
