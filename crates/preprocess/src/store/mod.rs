//! The store of preprocessed cases: a folder that training reads patch by patch.
//!
//! Per case: `<id>.npy` (f32; channel, z, y, x), `<id>_seg.npy` (i16; 1, z, y, x), `<id>_classes.npy` (u32; class number,
//! z, y, x per row) and `<id>.json` (properties, and a CRC-32 of each array). `store.json` holds the settings that decided the
//! arrays. The arrays are not compressed, so that any patch is a few reads at known places, and other programs can map them into
//! memory (`numpy.load(path, mmap_mode="r")`).

use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};
use nnunet_fingerprint::json;
use nnunet_image::fs::{sync_folder, write_unsynced};
use nnunet_image::{BoundingBox, Geometry};
use nnunet_plan::{Configuration, Plans};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::npy::{self, Npy};
use crate::{CaseProperties, ClassKey, ClassLocations, PreprocessError, PreprocessedCase};

const FORMAT: &str = "nnunet-store-2";
const MANIFEST: &str = "store.json";

/// A folder of preprocessed cases.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    identifiers: Vec<String>,
    settings: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: String,
    settings: Map<String, Value>,
    cases: Vec<String>,
}

/// `<id>.json`.
#[derive(Serialize, Deserialize)]
struct Properties {
    spacing: [f64; 3],
    origin: [f64; 3],
    direction: [[f64; 3]; 3],
    axes_in_file: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_axes: Option<String>,
    shape_before_cropping: [usize; 3],
    bbox_used_for_cropping: [[usize; 2]; 3],
    shape_after_cropping_and_before_resampling: [usize; 3],
    class_locations: Vec<ClassKey>,
    /// CRC-32 of the numbers of image, segmentation and class locations.
    checksums: [u32; 3],
}

/// The settings that decide what preprocessing gives, as they stand in plans.
pub(crate) fn settings(
    plans: &Plans,
    configuration: &Configuration,
) -> Result<Map<String, Value>, PreprocessError> {
    let value = |v: Result<Value, serde_json::Error>| {
        v.map_err(|e| PreprocessError::Mismatch(format!("settings have no JSON form: {e}")))
    };
    let all = value(serde_json::to_value(configuration))?;
    let mut map = Map::new();
    for key in [
        "spacing",
        "normalization_schemes",
        "use_mask_for_norm",
        "resampling_fn_data",
        "resampling_fn_data_kwargs",
        "resampling_fn_seg",
        "resampling_fn_seg_kwargs",
    ] {
        map.insert(key.to_owned(), all.get(key).cloned().unwrap_or(Value::Null));
    }
    map.insert("transpose_forward".to_owned(), value(serde_json::to_value(plans.transpose_forward))?);
    map.insert("image_reader_writer".to_owned(), plans.image_reader_writer.clone().into());
    let intensities = &plans.foreground_intensity_properties_per_channel;
    map.insert(
        "foreground_intensity_properties_per_channel".to_owned(),
        value(serde_json::to_value(intensities))?,
    );
    Ok(map)
}

impl Store {
    /// Opens a complete store.
    ///
    /// # Errors
    /// The folder is missing, not a store, or of another version.
    pub fn open(folder: &Path) -> Result<Self, PreprocessError> {
        let path = folder.join(MANIFEST);
        if !path.is_file() {
            let text = "there are no preprocessed cases here; run `nnunet preprocess` first";
            return Err(PreprocessError::store(folder, text));
        }
        let manifest: Manifest = json::read(&path)?;
        if manifest.format != FORMAT {
            return Err(PreprocessError::store(
                &path,
                format!("format {:?}, expected {FORMAT:?}; preprocess the data set again", manifest.format),
            ));
        }
        Ok(Self { folder: folder.to_owned(), identifiers: manifest.cases, settings: manifest.settings })
    }

    /// Checks that the store was made with the settings of these plans.
    ///
    /// # Errors
    /// A setting differs; the error names it.
    pub fn check(&self, plans: &Plans, configuration: &Configuration) -> Result<(), PreprocessError> {
        for (key, expected) in settings(plans, configuration)? {
            let found = self.settings.get(&key).unwrap_or(&Value::Null);
            if *found != expected {
                let text = format!(
                    "made with {key} = {found}, the plans say {expected}; run `nnunet preprocess` again"
                );
                return Err(PreprocessError::store(&self.folder, text));
            }
        }
        Ok(())
    }

    /// A folder of cases that is to become a store, as far as it has come.
    pub(crate) fn unfinished(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), identifiers: Vec::new(), settings: Map::new() }
    }

    /// Files of a case.
    pub(crate) fn files(id: &str) -> [String; 4] {
        [".npy", "_seg.npy", "_classes.npy", ".json"].map(|rest| format!("{id}{rest}"))
    }

    /// Writes the manifest that makes a folder of cases a store, once all of them are on the disk.
    pub(crate) fn finish(
        folder: &Path,
        identifiers: Vec<String>,
        settings: Map<String, Value>,
    ) -> Result<(), PreprocessError> {
        sync_folder(folder).map_err(|e| PreprocessError::io(folder, e))?;
        let manifest = Manifest { format: FORMAT.to_owned(), settings, cases: identifiers };
        Ok(json::write(&folder.join(MANIFEST), &manifest)?)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Identifiers of the cases, ascending.
    pub fn identifiers(&self) -> &[String] {
        &self.identifiers
    }

    fn path(&self, id: &str, rest: &str) -> PathBuf {
        self.folder.join(format!("{id}{rest}"))
    }

    /// Shape (channels, z, y, x) of a case.
    ///
    /// # Errors
    /// No such case, or a file that is not whole.
    pub fn shape(&self, id: &str) -> Result<[usize; 4], PreprocessError> {
        Ok(self.open_data(id)?.1)
    }

    fn open_data(&self, id: &str) -> Result<(Npy, [usize; 4]), PreprocessError> {
        let path = self.path(id, ".npy");
        let npy = Npy::open::<f32>(&path).map_err(|e| e.in_case(id))?;
        match *npy.shape.as_slice() {
            [c, z, y, x] => Ok((npy, [c, z, y, x])),
            _ => {
                let text = format!("shape {:?}, expected four axes", npy.shape);
                Err(PreprocessError::store(&path, text).in_case(id))
            }
        }
    }

    fn open_seg(&self, id: &str, shape: [usize; 4]) -> Result<Npy, PreprocessError> {
        let path = self.path(id, "_seg.npy");
        let npy = Npy::open::<i16>(&path).map_err(|e| e.in_case(id))?;
        if npy.shape != [1, shape[1], shape[2], shape[3]] {
            let text = format!("shape {:?}, the image has {shape:?}", npy.shape);
            return Err(PreprocessError::store(&path, text).in_case(id));
        }
        Ok(npy)
    }

    /// Reads a whole case and compares it with its checksums.
    ///
    /// # Errors
    /// No such case, or a file that is not whole or not as it was written.
    pub fn load(&self, id: &str) -> Result<PreprocessedCase, PreprocessError> {
        let checksums = self.read_properties(id)?.checksums;
        let (data, [c, z, y, x]) = self.open_data(id)?;
        let seg = self.open_seg(id, [c, z, y, x])?;
        let wrong = |e: ndarray::ShapeError| PreprocessError::store(&self.folder, e.to_string()).in_case(id);
        let data = Array4::from_shape_vec(
            (c, z, y, x),
            data.read_all(&self.path(id, ".npy"), checksums[0]).map_err(|e| e.in_case(id))?,
        )
        .map_err(wrong)?;
        let seg = Array3::from_shape_vec(
            (z, y, x),
            seg.read_all(&self.path(id, "_seg.npy"), checksums[1]).map_err(|e| e.in_case(id))?,
        )
        .map_err(wrong)?;
        Ok(PreprocessedCase { data, seg, properties: self.properties(id)? })
    }

    fn read_properties(&self, id: &str) -> Result<Properties, PreprocessError> {
        json::read(&self.path(id, ".json")).map_err(|e| PreprocessError::from(e).in_case(id))
    }

    /// Compares all arrays of a case with their checksums.
    ///
    /// Patches are read without this comparison, which needs the whole array; training may ask for it once.
    ///
    /// # Errors
    /// No such case, or a file that is not whole or not as it was written.
    pub fn verify(&self, id: &str) -> Result<(), PreprocessError> {
        self.load(id).map(drop)
    }

    /// Reads what belongs to a case beside its arrays.
    ///
    /// # Errors
    /// No such case, or a file that is not whole or not as it was written.
    pub fn properties(&self, id: &str) -> Result<CaseProperties, PreprocessError> {
        let p = self.read_properties(id)?;
        let path = self.path(id, "_classes.npy");
        let rows: Vec<u32> = Npy::open::<u32>(&path)
            .and_then(|npy| npy.read_all(&path, p.checksums[2]))
            .map_err(|e| e.in_case(id))?;
        let mut classes: Vec<ClassLocations> =
            p.class_locations.into_iter().map(|class| ClassLocations { class, voxels: Vec::new() }).collect();
        for row in rows.chunks_exact(4) {
            match classes.get_mut(row[0] as usize) {
                Some(class) => class.voxels.push([row[1], row[2], row[3]]),
                None => {
                    let text = format!("class number {}, there are {}", row[0], classes.len());
                    return Err(PreprocessError::store(&path, text).in_case(id));
                }
            }
        }
        let geometry = Geometry {
            spacing: p.spacing,
            origin: p.origin,
            direction: p.direction,
            dims: p.axes_in_file,
            file_axes: p.file_axes.and_then(|code| code.parse().ok()),
        };
        Ok(CaseProperties {
            geometry,
            spacing: p.spacing,
            shape_before_cropping: p.shape_before_cropping,
            bbox: BoundingBox {
                start: p.bbox_used_for_cropping.map(|[start, _]| start),
                end: p.bbox_used_for_cropping.map(|[_, end]| end),
            },
            shape_after_cropping: p.shape_after_cropping_and_before_resampling,
            class_locations: classes,
        })
    }

    /// Reads a box of a case: `size` voxels (z, y, x) from `lower` on, which may lie outside. Image voxels outside the case
    /// are 0, labels outside are −1. Only what lies inside is read from the disk.
    ///
    /// # Errors
    /// No such case, or a file that is not whole.
    pub fn read_patch(
        &self,
        id: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<(Array4<f32>, Array3<i16>), PreprocessError> {
        let (data, shape) = self.open_data(id)?;
        let seg = self.open_seg(id, shape)?;
        let space = [shape[1], shape[2], shape[3]];
        let part = Part::new(space, lower, size);
        let mut image = vec![0f32; shape[0] * size.iter().product::<usize>()];
        let mut labels = vec![-1i16; size.iter().product()];
        let failed = |rest: &str, e| PreprocessError::io(&self.path(id, rest), e).in_case(id);
        part.read(&data, shape[0], &mut image, |v: f32| v).map_err(|e| failed(".npy", e))?;
        part.read(&seg, 1, &mut labels, |v: i16| v).map_err(|e| failed("_seg.npy", e))?;
        let wrong = |e: ndarray::ShapeError| PreprocessError::store(&self.folder, e.to_string()).in_case(id);
        let image = Array4::from_shape_vec((shape[0], size[0], size[1], size[2]), image).map_err(wrong)?;
        let labels = Array3::from_shape_vec(size, labels).map_err(wrong)?;
        Ok((image, labels))
    }

    /// Writes a case into a folder that is to become a store.
    pub(crate) fn write(folder: &Path, id: &str, case: &PreprocessedCase) -> Result<(), PreprocessError> {
        let path = |rest: &str| folder.join(format!("{id}{rest}"));
        let data = npy::write(&path(".npy"), case.data.shape(), case.data.iter(), false)?;
        let (z, y, x) = case.seg.dim();
        let seg = npy::write(&path("_seg.npy"), &[1, z, y, x], case.seg.iter(), false)?;
        let p = &case.properties;
        let rows: Vec<u32> = p
            .class_locations
            .iter()
            .enumerate()
            .flat_map(|(i, class)| class.voxels.iter().flat_map(move |v| [i as u32, v[0], v[1], v[2]]))
            .collect();
        let classes = npy::write(&path("_classes.npy"), &[rows.len() / 4, 4], rows.iter(), false)?;
        let properties = Properties {
            spacing: p.spacing,
            origin: p.geometry.origin,
            direction: p.geometry.direction,
            axes_in_file: p.geometry.dims,
            file_axes: p.geometry.file_axes.map(|code| code.to_string()),
            shape_before_cropping: p.shape_before_cropping,
            bbox_used_for_cropping: std::array::from_fn(|a| [p.bbox.start[a], p.bbox.end[a]]),
            shape_after_cropping_and_before_resampling: p.shape_after_cropping,
            class_locations: p.class_locations.iter().map(|class| class.class.clone()).collect(),
            checksums: [data, seg, classes],
        };
        // This file comes last: where it is, the case is whole, unless the system has crashed, which the checksums tell.
        let text = json::to_string(&properties)?;
        let path = path(".json");
        write_unsynced(&path, |out| out.write_all(text.as_bytes())).map_err(|e| PreprocessError::io(&path, e))
    }
}

/// The part of a box that lies inside an array.
pub(crate) struct Part {
    space: [usize; 3],
    size: [usize; 3],
    /// Per axis: first voxel in the array, first voxel in the box, number of voxels.
    overlap: [[usize; 3]; 3],
}

impl Part {
    pub(crate) fn new(space: [usize; 3], lower: [i64; 3], size: [usize; 3]) -> Self {
        let overlap = std::array::from_fn(|a| {
            let (from, to) = (lower[a].max(0), lower[a].saturating_add(size[a] as i64).min(space[a] as i64));
            if from >= to {
                return [0; 3];
            }
            [from as usize, (from - lower[a]) as usize, (to - from) as usize]
        });
        Self { space, size, overlap }
    }

    /// Fills `out` (channels, size) where it overlaps; a block of rows of one plane is read at a time.
    pub(crate) fn read<T: npy::Element, U>(
        &self,
        npy: &Npy,
        channels: usize,
        out: &mut [U],
        convert: impl Fn(T) -> U,
    ) -> std::io::Result<()> {
        let [[z0, bz, nz], [y0, by, ny], [x0, bx, nx]] = self.overlap;
        if nz * ny * nx == 0 {
            return Ok(());
        }
        let [sz, sy, sx] = self.space;
        let mut rows = Vec::new();
        for channel in 0..channels {
            for z in 0..nz {
                let first = ((channel * sz + z0 + z) * sy + y0) * sx + x0;
                npy.read::<T>(first, (ny - 1) * sx + nx, &mut rows)?;
                for y in 0..ny {
                    let to = ((channel * self.size[0] + bz + z) * self.size[1] + by + y) * self.size[2] + bx;
                    let row = &rows[y * sx..y * sx + nx];
                    out[to..to + nx].iter_mut().zip(row).for_each(|(to, &from)| *to = convert(from));
                }
            }
        }
        Ok(())
    }
}
