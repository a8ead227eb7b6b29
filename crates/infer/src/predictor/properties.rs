//! The properties of a case beside its probabilities: in our form and in the reference's.

use std::path::Path;

use nnunet_fingerprint::json;
use nnunet_image::Geometry;
use nnunet_nn::weights::pickle::{Plain, read_plain, write_plain};
use nnunet_preprocess::CaseFrame;

use crate::InferError;

/// [`CaseFrame`] in `<case>.json` and, as the reference's readers note it, in `<case>.pkl`.
pub(crate) trait Properties: Sized {
    /// Writes `<stem>.json` and `<stem>.pkl`; `reader` is the name of the reader that the plans carry.
    fn write(&self, stem: &Path, reader: &str) -> Result<(), InferError>;

    /// Reads `<stem>.json`, or the reference's `<stem>.pkl` where there is none.
    fn read(stem: &Path) -> Result<Self, InferError>;
}
impl Properties for CaseFrame {
    fn write(&self, stem: &Path, reader: &str) -> Result<(), InferError> {
        json::write(&with_ending(stem, ".json"), self)?;
        let path = with_ending(stem, ".pkl");
        let bytes = write_plain(&pickle(self, reader));
        nnunet_image::fs::write_atomic(&path, |out| out.write_all(&bytes))
            .map_err(|source| InferError::io(&path, source))
    }

    fn read(stem: &Path) -> Result<Self, InferError> {
        let ours = with_ending(stem, ".json");
        if ours.is_file() {
            return Ok(json::read(&ours)?);
        }
        let path = with_ending(stem, ".pkl");
        let bytes = std::fs::read(&path).map_err(|source| InferError::io(&path, source))?;
        let value = read_plain(&bytes).map_err(|reason| InferError::file(&path, reason))?;
        from_pickle(&value).map_err(|key| {
            InferError::file(
                &path,
                format!("{key} is missing or not as nnU-Net writes it for images of its readers"),
            )
        })
    }
}

/// As the reference's readers note it.
fn pickle(frame: &CaseFrame, reader: &str) -> Plain {
    let mut entries = Vec::new();
    match reader {
        "NibabelIO" => entries.push(("nibabel_stuff", Plain::dict([("original_affine", affine(frame))]))),
        "NibabelIOWithReorient" => {
            let affines = [("original_affine", affine(frame)), ("reoriented_affine", affine(frame))];
            entries.push(("nibabel_stuff", Plain::dict(affines)));
        }
        "NaturalImage2DIO" => {}
        _ => entries.push(("sitk_stuff", itk(frame))),
    }
    let size = |n: usize| Plain::Int(n as i64);
    let box_of_axis = |[start, end]: [usize; 2]| Plain::List(vec![size(start), size(end)]);
    let bbox = frame.bbox_used_for_cropping.map(box_of_axis);
    entries.extend([
        ("spacing", floats(&frame.spacing, Plain::List)),
        ("shape_before_cropping", Plain::Tuple(frame.shape_before_cropping.map(size).to_vec())),
        ("bbox_used_for_cropping", Plain::List(bbox.to_vec())),
        (
            "shape_after_cropping_and_before_resampling",
            Plain::Tuple(frame.shape_after_cropping_and_before_resampling.map(size).to_vec()),
        ),
    ]);
    Plain::dict(entries)
}

fn itk(frame: &CaseFrame) -> Plain {
    let axes = frame.axes_in_file.clamp(2, 3);
    let spacing: Vec<f64> = frame.spacing.iter().rev().copied().take(axes).collect();
    let direction: Vec<f64> =
        frame.direction.iter().take(axes).flat_map(|row| row.iter().copied().take(axes)).collect();
    Plain::dict([
        ("spacing", floats(&spacing, Plain::Tuple)),
        ("origin", floats(&frame.origin[..axes], Plain::Tuple)),
        ("direction", floats(&direction, Plain::Tuple)),
    ])
}

/// From voxel indices (x, y, z) to millimetres (RAS).
fn affine(frame: &CaseFrame) -> Plain {
    let [sz, sy, sx] = frame.spacing;
    let row = |i: usize| {
        let sign = if i < 2 { -1.0 } else { 1.0 };
        let d = frame.direction[i];
        let values = [d[0] * sx, d[1] * sy, d[2] * sz, frame.origin[i]].map(|v| sign * v);
        floats(&values, Plain::List)
    };
    let rows = vec![row(0), row(1), row(2), floats(&[0.0, 0.0, 0.0, 1.0], Plain::List)];
    Plain::Call("numpy".into(), "array".into(), vec![Plain::List(rows)])
}

/// The error is the key that is wrong.
fn from_pickle(value: &Plain) -> Result<CaseFrame, &'static str> {
    let spacing = array(value.get("spacing")).ok_or("spacing")?;
    let (origin, direction, axes_in_file) = match (value.get("sitk_stuff"), value.get("nibabel_stuff")) {
        (Some(itk), _) => from_itk(itk).ok_or("sitk_stuff")?,
        (None, Some(nibabel)) => from_nibabel(nibabel).ok_or("nibabel_stuff")?,
        _ => ([0.0; 3], Geometry::default().direction, if spacing[0] == 999.0 { 2 } else { 3 }),
    };
    let sizes = |value: Option<&Plain>| array(value).map(|sizes| sizes.map(|size| size as usize));
    let key = "bbox_used_for_cropping";
    let bbox = value.get(key).and_then(Plain::items).filter(|items| items.len() == 3).ok_or(key)?;
    let mut boxes = [[0; 2]; 3];
    for (to, axis) in boxes.iter_mut().zip(bbox) {
        let pair = axis.items().filter(|pair| pair.len() == 2).ok_or(key)?;
        for (to, end) in to.iter_mut().zip(pair) {
            *to = end.int().and_then(|end| usize::try_from(end).ok()).ok_or(key)?;
        }
    }
    let (before, after) = ("shape_before_cropping", "shape_after_cropping_and_before_resampling");
    Ok(CaseFrame {
        spacing,
        origin,
        direction,
        axes_in_file,
        file_axes: None,
        shape_before_cropping: sizes(value.get(before)).ok_or(before)?,
        bbox_used_for_cropping: boxes,
        shape_after_cropping_and_before_resampling: sizes(value.get(after)).ok_or(after)?,
    })
}

/// Origin, direction and number of axes.
type Frame = ([f64; 3], [[f64; 3]; 3], usize);

fn from_itk(itk: &Plain) -> Option<Frame> {
    let given = itk.get("origin")?.items()?;
    let axes = given.len();
    let turns = itk.get("direction")?.items()?;
    if !(2..=3).contains(&axes) || turns.len() != axes * axes {
        return None;
    }
    let mut origin = [0.0; 3];
    let mut direction = Geometry::default().direction;
    for i in 0..axes {
        origin[i] = given[i].float()?;
        for j in 0..axes {
            direction[i][j] = turns[i * axes + j].float()?;
        }
    }
    Some((origin, direction, axes))
}

fn from_nibabel(nibabel: &Plain) -> Option<Frame> {
    let affine = match nibabel.get("original_affine")? {
        Plain::Call(module, name, arguments) if module == "numpy" && name == "array" => arguments.first()?,
        other => other,
    };
    let rows = affine.items()?;
    let mut values = [[0.0; 4]; 3];
    for (to, row) in values.iter_mut().zip(rows) {
        for (to, value) in to.iter_mut().zip(row.items()?) {
            *to = value.float()?;
        }
    }
    let length = |column: usize| values.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
    let sign = [-1.0, -1.0, 1.0];
    let direction = std::array::from_fn(|i| {
        std::array::from_fn(|j| sign[i] * values[i][j] / length(j).max(f64::MIN_POSITIVE))
    });
    Some((std::array::from_fn(|i| sign[i] * values[i][3]), direction, 3))
}

fn floats(values: &[f64], container: fn(Vec<Plain>) -> Plain) -> Plain {
    container(values.iter().map(|&value| Plain::Float(value)).collect())
}

fn array(value: Option<&Plain>) -> Option<[f64; 3]> {
    let items = value?.items()?;
    let values: Vec<f64> = items.iter().map(Plain::float).collect::<Option<_>>()?;
    values.try_into().ok()
}

/// Adds an ending to a name that may have dots.
pub(crate) fn with_ending(stem: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(axes: usize) -> CaseFrame {
        let direction = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        CaseFrame {
            spacing: [2.5, 0.5, 0.75],
            origin: [-3.5, 4.0, if axes == 2 { 0.0 } else { 7.25 }],
            direction,
            axes_in_file: axes,
            file_axes: None,
            shape_before_cropping: [9, 20, 300],
            bbox_used_for_cropping: [[0, 9], [2, 18], [10, 290]],
            shape_after_cropping_and_before_resampling: [9, 16, 280],
        }
    }

    #[test]
    fn pickles_of_all_readers_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let stem = folder.path().join("case.1");
        for (reader, axes) in
            [("SimpleITKIO", 3), ("SimpleITKIO", 2), ("NibabelIO", 3), ("NibabelIOWithReorient", 3)]
        {
            example(axes).write(&stem, reader).unwrap();
            assert_eq!(CaseFrame::read(&stem).unwrap(), example(axes));
            std::fs::remove_file(folder.path().join("case.1.json")).unwrap();
            let read = CaseFrame::read(&stem).unwrap();
            assert_eq!(read, example(axes), "{reader}");
        }
        std::fs::write(folder.path().join("case.1.pkl"), b"\x80\x02}.").unwrap();
        let error = CaseFrame::read(&stem).unwrap_err().to_string();
        assert!(error.contains("case.1.pkl") && error.contains("spacing"), "{error}");
    }
}
