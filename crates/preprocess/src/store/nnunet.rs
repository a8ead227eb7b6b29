//! Properties of a case as nnU-Net's preprocessing pickles them.

use std::path::Path;

use nnunet_fingerprint::pickle::{Plain, read_plain};
use nnunet_image::{BoundingBox, Geometry};

use crate::{CaseProperties, ClassKey, ClassLocations, PreprocessError};

/// Reads `<id>.pkl`.
pub(super) fn properties(path: &Path) -> Result<CaseProperties, PreprocessError> {
    let bytes = std::fs::read(path).map_err(|e| PreprocessError::io(path, e))?;
    let value = read_plain(&bytes).map_err(|reason| PreprocessError::store(path, reason))?;
    convert(&value).map_err(|key| {
        PreprocessError::store(path, format!("{key} is missing or not as nnU-Net's preprocessing writes it"))
    })
}

/// The error is the key that is wrong.
fn convert(value: &Plain) -> Result<CaseProperties, &'static str> {
    let spacing = floats(value.get("spacing")).ok_or("spacing")?;
    let mut geometry = Geometry { spacing, ..Geometry::default() };
    if let Some(itk) = value.get("sitk_stuff") {
        frame(itk, &mut geometry).ok_or("sitk_stuff")?;
    } else if let Some(nibabel) = value.get("nibabel_stuff") {
        affine(nibabel, &mut geometry).ok_or("nibabel_stuff")?;
    } else if spacing[0] == 999.0 {
        geometry.dims = 2;
    }
    let (before, after) = ("shape_before_cropping", "shape_after_cropping_and_before_resampling");
    let key = "bbox_used_for_cropping";
    let pairs = value.get(key).and_then(Plain::items).filter(|items| items.len() == 3).ok_or(key)?;
    let mut bbox = BoundingBox { start: [0; 3], end: [0; 3] };
    for (axis, pair) in pairs.iter().enumerate() {
        let [start, end] = pair.items().ok_or(key)? else { return Err(key) };
        bbox.start[axis] = size(start).ok_or(key)?;
        bbox.end[axis] = size(end).ok_or(key)?;
    }
    Ok(CaseProperties {
        geometry,
        spacing,
        shape_before_cropping: sizes(value.get(before)).ok_or(before)?,
        bbox,
        shape_after_cropping: sizes(value.get(after)).ok_or(after)?,
        class_locations: classes(value.get("class_locations")).ok_or("class_locations")?,
    })
}

/// Origin and direction.
fn frame(itk: &Plain, geometry: &mut Geometry) -> Option<()> {
    let (origin, direction) = (itk.get("origin")?.items()?, itk.get("direction")?.items()?);
    let axes = origin.len();
    if !(2..=3).contains(&axes) || direction.len() != axes * axes {
        return None;
    }
    geometry.dims = axes;
    for row in 0..axes {
        geometry.origin[row] = origin[row].float()?;
        for column in 0..axes {
            geometry.direction[row][column] = direction[row * axes + column].float()?;
        }
    }
    Some(())
}

/// Origin and direction from the affine of the image as it was read, turned or not.
fn affine(nibabel: &Plain, geometry: &mut Geometry) -> Option<()> {
    let rows = match nibabel.get("reoriented_affine").or_else(|| nibabel.get("original_affine"))? {
        Plain::Call(_, _, arguments) => arguments.first()?,
        rows => rows,
    };
    let mut columns = [[0.0; 3]; 4];
    for (row, values) in rows.items()?.iter().take(3).enumerate() {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for (column, value) in columns.iter_mut().zip(values.items()?) {
            column[row] = sign * value.float()?;
        }
    }
    let [axes @ .., origin] = columns;
    geometry.origin = origin;
    for (column, axis) in axes.iter().enumerate() {
        let length = axis.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        (0..3).for_each(|row| geometry.direction[row][column] = axis[row] / length);
    }
    Some(())
}

/// Class → rows of channel, z, y, x. The key is a label or, for regions and all that is annotated, a tuple of labels.
fn classes(value: Option<&Plain>) -> Option<Vec<ClassLocations>> {
    let Plain::Dict(entries) = value? else { return None };
    let label = |value: &Plain| i16::try_from(value.int()?).ok();
    let class = |(key, rows): &(Plain, Plain)| {
        let class = match key.items() {
            None => ClassKey::Label(label(key)?),
            Some(items) => {
                let labels: Vec<i16> = items.iter().map(label).collect::<Option<_>>()?;
                if labels.contains(&-1) { ClassKey::Annotated(labels) } else { ClassKey::Region(labels) }
            }
        };
        let voxel = |row: &Plain| {
            let [_, place @ ..] = row.items()? else { return None };
            let [z, y, x] = place else { return None };
            Some([coordinate(z)?, coordinate(y)?, coordinate(x)?])
        };
        Some(ClassLocations { class, voxels: rows.items()?.iter().map(voxel).collect::<Option<_>>()? })
    };
    entries.iter().map(class).collect()
}

fn coordinate(value: &Plain) -> Option<u32> {
    u32::try_from(value.int()?).ok()
}

fn size(value: &Plain) -> Option<usize> {
    usize::try_from(value.int()?).ok()
}

fn sizes(value: Option<&Plain>) -> Option<[usize; 3]> {
    value?.items()?.iter().map(size).collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn floats(value: Option<&Plain>) -> Option<[f64; 3]> {
    value?.items()?.iter().map(Plain::float).collect::<Option<Vec<_>>>()?.try_into().ok()
}
