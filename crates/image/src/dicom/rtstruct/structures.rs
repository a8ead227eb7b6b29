use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use ndarray::Array3;

use super::outline::Polygon;
use super::raster::Raster;
use crate::dicom::geometry::{cross, dot, minus};
use crate::dicom::series::like;
use crate::dicom::{DicomSegment, DicomSource, uid};
use crate::{ImageError, LabelMap};

/// How far a point may be off its slice, as a part of the distance of slices.
const OFF: f64 = 0.1;
/// Contours that enclose something in one slice.
const CLOSED: [&str; 2] = ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"];
/// Longest name of a region of interest.
const LONGEST: usize = 64;

/// What becomes of voxels that several regions of interest with different labels hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoiOverlap {
    /// They are an error that names two regions.
    #[default]
    Refuse,
    /// They belong to the first of them in the order of [`DicomStructures::rois`].
    First,
    /// They belong to the last of them.
    Last,
}

/// A region of interest of an RT Structure Set file.
#[derive(Debug, Clone)]
pub struct DicomRoi {
    /// ROI Number, (3006,0022).
    pub number: i32,
    /// Its label, name, colour and terms. The label is the number where that is 1 to 32767, else 0; [`DicomStructures::to_labels`]
    /// uses what stands here, and refuses 0.
    pub segment: DicomSegment,
    /// Whether [`DicomStructures::to_labels`] draws it; all are drawn unless this is changed.
    pub chosen: bool,
    pub(super) frame_of_reference: String,
    pub(super) contours: Vec<Contour>,
}

/// A contour as it stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Contour {
    /// Contour Geometric Type, (3006,0042).
    pub(super) kind: String,
    /// Its points in millimetres, or what is wrong with them.
    pub(super) points: Result<Vec<[f64; 3]>, String>,
    /// Instances that it was drawn on.
    pub(super) images: Vec<String>,
}

/// An RT Structure Set file that has been read.
#[derive(Debug, Clone)]
pub struct DicomStructures {
    /// Its regions of interest; they may be reordered, left out, and given other labels.
    pub rois: Vec<DicomRoi>,
    pub(super) path: PathBuf,
}

/// A text of the file for a message. In a broken file it may run on into what comes next.
fn shown(text: &str) -> String {
    let sound = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
    if sound { format!("{text:?}") } else { "(no text)".to_owned() }
}

impl DicomRoi {
    /// Whether a text names this region: its number or its name, regardless of case; `*` stands for any letters of a name.
    pub fn matches(&self, wanted: &str) -> bool {
        let wanted = wanted.trim();
        wanted.parse() == Ok(self.number)
            || like(&wanted.to_lowercase(), &self.segment.name.trim().to_lowercase())
    }
}

impl std::fmt::Display for DicomRoi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ROI {} {}", self.number, shown(&self.segment.name))
    }
}

impl DicomStructures {
    /// Chooses regions of interest in this order, each text with the label for the regions that it names
    /// ([`DicomRoi::matches`]); `None` leaves them the label that they have. The others are left out.
    ///
    /// # Errors
    /// A text that names no region, with a list of those that there are.
    pub fn choose(&mut self, wanted: &[(String, Option<i16>)]) -> Result<(), ImageError> {
        let mut chosen: Vec<DicomRoi> = Vec::new();
        let mut rest = std::mem::take(&mut self.rois);
        rest.iter_mut().for_each(|roi| roi.chosen = false);
        for (text, label) in wanted {
            let again = chosen.iter().any(|roi| roi.matches(text));
            let (found, left): (Vec<_>, Vec<_>) = rest.into_iter().partition(|roi| roi.matches(text));
            rest = left;
            if found.is_empty() && !again {
                let known: Vec<String> = chosen.iter().chain(&rest).map(DicomRoi::to_string).collect();
                let reason = format!("(3006,0026) ROI Name: none is {text:?}: {}", known.join(", "));
                return Err(ImageError::format(&self.path, reason));
            }
            chosen.extend(found.into_iter().map(|mut roi| {
                roi.chosen = true;
                roi.segment.label = label.unwrap_or(roi.segment.label);
                roi
            }));
        }
        chosen.extend(rest);
        self.rois = chosen;
        Ok(())
    }

    /// The label map of the chosen regions on the grid of the series that they were drawn on.
    ///
    /// A voxel is inside a region if its centre is inside an odd number of the region's contours in its slice, or lies on one within
    /// a hundredth of a voxel. Contours in contours are holes so, whatever their direction, and channels without width are nothing.
    /// Between slices nothing is filled in; what lies beside the image is cut off.
    ///
    /// # Errors
    /// No chosen region, one without a label from 1 to 32767 or with another frame of reference, a contour that is not closed, has
    /// broken points, lies on no slice or was drawn on images of another series, or regions that overlap. The message names
    /// file, tag and region.
    pub fn to_labels(&self, source: &DicomSource, overlap: RoiOverlap) -> Result<LabelMap, ImageError> {
        let rois: Vec<&DicomRoi> = self.rois.iter().filter(|roi| roi.chosen).collect();
        if rois.is_empty() {
            let reason = "(3006,0020) Structure Set ROI Sequence: no region of interest is chosen";
            return Err(ImageError::format(&self.path, reason));
        }
        let grid = Grid::of(source);
        let mut data = Array3::<i16>::zeros(source.shape);
        for (number, roi) in rois.iter().enumerate() {
            for (z, polygons) in self.slices(roi, &grid)? {
                let mut raster = Raster::new([source.shape[1], source.shape[2]]);
                polygons.iter().for_each(|polygon| raster.add(polygon));
                for [y, x] in raster.inside() {
                    let voxel = &mut data[[z, y, x]];
                    let label = roi.segment.label;
                    if *voxel == 0 || *voxel == label || overlap == RoiOverlap::Last {
                        *voxel = label;
                    } else if overlap == RoiOverlap::Refuse {
                        let other = rois[..number].iter().find(|other| other.segment.label == *voxel);
                        let other = other.map(|other| other.to_string()).unwrap_or_default();
                        let reason = format!(
                            "(3006,0050) Contour Data: {other} and {roi} share the voxel (z, y, x) = {:?}",
                            [z, y, x]
                        );
                        return Err(ImageError::format(&self.path, reason));
                    }
                }
            }
        }
        Ok(LabelMap { data, geometry: source.geometry.clone() })
    }

    /// The polygons of a region by slice.
    fn slices(&self, roi: &DicomRoi, grid: &Grid<'_>) -> Result<BTreeMap<usize, Vec<Polygon>>, ImageError> {
        let wrong = |reason: String| ImageError::format(&self.path, reason);
        if roi.segment.label < 1 {
            let label = roi.segment.label;
            return Err(wrong(format!(
                "(3006,0022) ROI Number: {roi} has no label from 1 to 32767 but {label}; choose one, or leave the region out"
            )));
        }
        let (expected, found) = (grid.source.frame_of_reference(), &roi.frame_of_reference);
        if *found != expected && !roi.contours.is_empty() {
            let (found, expected) = (uid(found), uid(&expected));
            return Err(wrong(format!(
                "(3006,0024) Referenced Frame of Reference UID: {roi}: expected that of the series, {expected}, found {found}"
            )));
        }
        let mut slices = BTreeMap::<usize, Vec<Polygon>>::new();
        for (number, contour) in roi.contours.iter().enumerate() {
            let place = format!("{roi}, contour {}", number + 1);
            let (z, polygon) = grid.place(contour, &place).map_err(wrong)?;
            slices.entry(z).or_default().push(polygon);
        }
        Ok(slices)
    }
}

/// The slices of a series.
struct Grid<'a> {
    source: &'a DicomSource,
    instances: HashSet<&'a str>,
    /// Directions of rows, columns and slices.
    axes: [[f64; 3]; 3],
}

impl<'a> Grid<'a> {
    fn of(source: &'a DicomSource) -> Self {
        let column = |k: usize| source.geometry.direction.map(|row| row[k]);
        let axes = [column(0), column(1), cross(column(0), column(1))];
        let instances = source.slices.iter().map(|slice| &*slice.instance).collect();
        Self { source, instances, axes }
    }

    /// Slice and polygon of a contour, or what is wrong with it.
    fn place(&self, contour: &Contour, place: &str) -> Result<(usize, Polygon), String> {
        if !CLOSED.contains(&contour.kind.as_str()) {
            let found = shown(&contour.kind);
            return Err(format!(
                "(3006,0042) Contour Geometric Type: {place}: expected one of {CLOSED:?}, found {found}; leave the region out to go on \
                 without it"
            ));
        }
        let images = &contour.images;
        if let Some(image) = images.first()
            && !images.iter().any(|image| self.instances.contains(image.as_str()))
        {
            let (image, series) = (uid(image), uid(&self.source.series));
            return Err(format!(
                "(0008,1155) Referenced SOP Instance UID: {place}: {image} is no image of the series {series}"
            ));
        }
        let wrong = |reason: &str| format!("(3006,0050) Contour Data: {place}: {reason}");
        let points = contour.points.as_ref().map_err(|reason| wrong(reason))?;
        let [step, rows, columns] = self.source.geometry.spacing;
        let first = points.first().ok_or_else(|| wrong("it is missing"))?;
        let slice = (dot(minus(*first, self.source.geometry.origin), self.axes[2]) / step).round();
        let last = (self.source.shape[0] - 1) as f64;
        if !(0.0..=last).contains(&slice) {
            let at = first;
            return Err(wrong(&format!("the point {at:?} lies above or below the {} slices", last + 1.0)));
        }
        let slice = slice as usize;
        let position = self.source.slices[slice].position;
        let mut polygon = Polygon::with_capacity(points.len());
        for point in points {
            let way = minus(*point, position);
            let off = dot(way, self.axes[2]);
            if off.abs() > OFF * step {
                return Err(wrong(&format!(
                    "the point {point:?} lies on no slice: {off:.4} mm off slice {} (from 1) of {step:.4} mm",
                    slice + 1
                )));
            }
            polygon.push([dot(way, self.axes[0]) / columns, dot(way, self.axes[1]) / rows]);
        }
        Ok((slice, polygon))
    }
}
