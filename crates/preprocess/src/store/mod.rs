//! The store of preprocessed cases: a folder that training reads patch by patch.
//!
//! Per case: the image (f32; channel, z, y, x) and the segmentation (i16; 1, z, y, x), `<id>_classes.npy` (u32; class number,
//! z, y, x per row) and `<id>.json` (properties, and a CRC-32 of each array). `store.json` holds the settings that decided the
//! arrays.
//!
//! The arrays are `<id>.npy` and `<id>_seg.npy`, uncompressed, so that any patch is a few reads at known places and other programs
//! can map them into memory (`numpy.load(path, mmap_mode="r")`); or `<id>.zarr` and `<id>_seg.zarr`, Zarr 3 arrays of compressed
//! chunks (`zarr.open_array(path)`), each with a checksum that every read compares.

mod arrays;
#[cfg(feature = "blosc2")]
mod nnunet;
mod part;
mod properties;

use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};
use nnunet_fingerprint::json;
use nnunet_image::fs::{sync_folder, write_unsynced};
use nnunet_plan::{Configuration, Plans};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use arrays::Stored;
pub(crate) use part::Part;
use properties::Properties;

use crate::chunked::{Chunked, write_zarr};
use crate::npy::{self, Npy};
use crate::{CaseProperties, PreprocessError, PreprocessedCase};

const MANIFEST: &str = "store.json";

/// How the arrays of a store are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreFormat {
    /// Uncompressed NumPy files: the fastest to read.
    #[default]
    Npy,
    /// Zarr 3 arrays, compressed in chunks: a fraction of the disk.
    Zarr,
}

impl StoreFormat {
    /// Name in the manifest.
    fn manifest(self) -> &'static str {
        match self {
            Self::Npy => "nnunet-store-2",
            Self::Zarr => "nnunet-store-2-zarr",
        }
    }
}

impl std::str::FromStr for StoreFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "npy" => Ok(Self::Npy),
            "zarr" => Ok(Self::Zarr),
            other => Err(format!("{other:?} is no format of a store, expected npy or zarr")),
        }
    }
}

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours(StoreFormat),
    #[cfg(feature = "blosc2")]
    NnUNet,
}

impl Kind {
    /// What follows the identifier in the name of an image.
    fn image(self) -> &'static str {
        match self {
            Self::Ours(StoreFormat::Npy) => ".npy",
            Self::Ours(StoreFormat::Zarr) => ".zarr",
            #[cfg(feature = "blosc2")]
            Self::NnUNet => ".b2nd",
        }
    }

    /// What follows the identifier in the name of a segmentation.
    fn seg(self) -> &'static str {
        match self {
            Self::Ours(StoreFormat::Npy) => "_seg.npy",
            Self::Ours(StoreFormat::Zarr) => "_seg.zarr",
            #[cfg(feature = "blosc2")]
            Self::NnUNet => "_seg.b2nd",
        }
    }
}

/// Cases of a folder that nnU-Net preprocessed.
fn identifiers_of_b2nd(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut list: Vec<String> = names
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".b2nd").map(str::to_owned))
        .filter(|name| !name.ends_with("_seg"))
        .collect();
    list.sort();
    list
}

/// A folder of preprocessed cases.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    format: Kind,
    identifiers: Vec<String>,
    settings: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: String,
    settings: Map<String, Value>,
    cases: Vec<String>,
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
            return Self::open_foreign(folder);
        }
        let manifest: Manifest = json::read(&path)?;
        let known = [StoreFormat::Npy, StoreFormat::Zarr];
        let Some(format) = known.into_iter().find(|format| format.manifest() == manifest.format) else {
            let expected = known.map(StoreFormat::manifest).join(" or ");
            let text =
                format!("format {:?}, expected {expected}; preprocess the data set again", manifest.format);
            return Err(PreprocessError::store(&path, text));
        };
        let Manifest { cases, settings, .. } = manifest;
        Ok(Self { folder: folder.to_owned(), format: Kind::Ours(format), identifiers: cases, settings })
    }

    /// A folder without a manifest: one that nnU-Net preprocessed, if it has such files.
    fn open_foreign(folder: &Path) -> Result<Self, PreprocessError> {
        let identifiers = identifiers_of_b2nd(folder);
        if identifiers.is_empty() {
            let text = "there are no preprocessed cases here; run `nnunet preprocess` first";
            return Err(PreprocessError::store(folder, text));
        }
        #[cfg(feature = "blosc2")]
        return Ok(Self {
            folder: folder.to_owned(),
            format: Kind::NnUNet,
            identifiers,
            settings: Map::new(),
        });
        #[cfg(not(feature = "blosc2"))]
        Err(PreprocessError::store(
            folder,
            "cases that nnU-Net preprocessed (.b2nd); this build reads them only with the feature blosc2",
        ))
    }

    /// Checks that the store was made with the settings of these plans. A folder that nnU-Net preprocessed does not tell.
    ///
    /// # Errors
    /// A setting differs; the error names it.
    pub fn check(&self, plans: &Plans, configuration: &Configuration) -> Result<(), PreprocessError> {
        let ours = matches!(self.format, Kind::Ours(_));
        for (key, expected) in settings(plans, configuration)?.into_iter().filter(|_| ours) {
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
    pub(crate) fn unfinished(folder: &Path, format: StoreFormat) -> Self {
        let format = Kind::Ours(format);
        Self { folder: folder.to_owned(), format, identifiers: Vec::new(), settings: Map::new() }
    }

    /// Files and folders of a case.
    pub(crate) fn files(id: &str, format: StoreFormat) -> [String; 4] {
        let kind = Kind::Ours(format);
        [kind.image(), kind.seg(), "_classes.npy", ".json"].map(|rest| format!("{id}{rest}"))
    }

    /// Writes the manifest that makes a folder of cases a store, once all of them are on the disk.
    pub(crate) fn finish(
        folder: &Path,
        format: StoreFormat,
        identifiers: Vec<String>,
        settings: Map<String, Value>,
    ) -> Result<(), PreprocessError> {
        sync_folder(folder).map_err(|e| PreprocessError::io(folder, e))?;
        let manifest = Manifest { format: format.manifest().to_owned(), settings, cases: identifiers };
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
        Ok(self.open_data(id)?.0.shape())
    }

    fn open_data(&self, id: &str) -> Result<(Stored, PathBuf), PreprocessError> {
        let path = self.path(id, self.format.image());
        let found = match self.format {
            Kind::Ours(StoreFormat::Npy) => Stored::npy::<f32>(&path),
            Kind::Ours(StoreFormat::Zarr) => Chunked::open_zarr(&path).map(Stored::Chunked),
            #[cfg(feature = "blosc2")]
            Kind::NnUNet => Chunked::open_b2nd(&path).map(Stored::Chunked),
        };
        found.map(|found| (found, path)).map_err(|e| e.in_case(id))
    }

    fn open_seg(&self, id: &str, shape: [usize; 4]) -> Result<(Stored, PathBuf), PreprocessError> {
        let path = self.path(id, self.format.seg());
        let found = match self.format {
            Kind::Ours(StoreFormat::Npy) => Stored::npy::<i16>(&path),
            Kind::Ours(StoreFormat::Zarr) => Chunked::open_zarr(&path).map(Stored::Chunked),
            #[cfg(feature = "blosc2")]
            Kind::NnUNet => Chunked::open_b2nd(&path).map(Stored::Chunked),
        };
        let found = found.map_err(|e| e.in_case(id))?;
        if found.shape()[1..] != shape[1..] || found.shape()[0] != 1 {
            let text = format!("shape {:?}, the image has {shape:?}", found.shape());
            return Err(PreprocessError::store(&path, text).in_case(id));
        }
        Ok((found, path))
    }

    /// Reads a whole case and compares it with its checksums.
    ///
    /// # Errors
    /// No such case, or a file that is not whole or not as it was written.
    pub fn load(&self, id: &str) -> Result<PreprocessedCase, PreprocessError> {
        let properties = self.properties(id)?;
        let [_, z, y, x] = self.shape(id)?;
        let (data, seg) = self.read_patch(id, [0; 3], [z, y, x])?;
        if let Some(checksums) = self.checksums(id)? {
            let found = [npy::checksum(data.iter()), npy::checksum(seg.iter())];
            for (rest, found, written) in
                [(self.format.image(), found[0], checksums[0]), (self.format.seg(), found[1], checksums[1])]
            {
                npy::compare(&self.path(id, rest), found, written).map_err(|e| e.in_case(id))?;
            }
        }
        Ok(PreprocessedCase { data, seg, properties })
    }

    /// Checksums of image, segmentation and class locations; none in a folder of nnU-Net's.
    fn checksums(&self, id: &str) -> Result<Option<[u32; 3]>, PreprocessError> {
        match self.format {
            Kind::Ours(_) => Ok(Some(self.read_properties(id)?.checksums)),
            #[cfg(feature = "blosc2")]
            Kind::NnUNet => Ok(None),
        }
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
        #[cfg(feature = "blosc2")]
        if self.format == Kind::NnUNet {
            return nnunet::properties(&self.path(id, ".pkl")).map_err(|e| e.in_case(id));
        }
        let p = self.read_properties(id)?;
        let path = self.path(id, "_classes.npy");
        let rows: Vec<u32> = Npy::open::<u32>(&path)
            .and_then(|npy| npy.read_all(&path, p.checksums[2]))
            .map_err(|e| e.in_case(id))?;
        p.with_rows(&rows).map_err(|text| PreprocessError::store(&path, text).in_case(id))
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
        let (data, data_path) = self.open_data(id)?;
        let shape = data.shape();
        let (seg, seg_path) = self.open_seg(id, shape)?;
        let mut image = vec![0f32; shape[0] * size.iter().product::<usize>()];
        let mut labels = vec![-1i16; size.iter().product()];
        data.read_image(&data_path, lower, size, &mut image).map_err(|e| e.in_case(id))?;
        seg.read_labels(&seg_path, lower, size, &mut labels).map_err(|e| e.in_case(id))?;
        let wrong = |e: ndarray::ShapeError| PreprocessError::store(&self.folder, e.to_string()).in_case(id);
        let image = Array4::from_shape_vec((shape[0], size[0], size[1], size[2]), image).map_err(wrong)?;
        let labels = Array3::from_shape_vec(size, labels).map_err(wrong)?;
        Ok((image, labels))
    }

    /// Writes a case into a folder that is to become a store; `flat` where it is read slice by slice.
    pub(crate) fn write(
        folder: &Path,
        id: &str,
        case: &PreprocessedCase,
        format: StoreFormat,
        flat: bool,
    ) -> Result<(), PreprocessError> {
        let path = |rest: &str| folder.join(format!("{id}{rest}"));
        let kind = Kind::Ours(format);
        let (image, seg) = (path(kind.image()), path(kind.seg()));
        let shape: [usize; 4] = case.data.dim().into();
        let one = [1, shape[1], shape[2], shape[3]];
        let checksums = match format {
            StoreFormat::Npy => [
                npy::write(&image, &shape, case.data.iter(), false)?,
                npy::write(&seg, &one, case.seg.iter(), false)?,
            ],
            StoreFormat::Zarr => {
                let (data, labels) = (case.data.as_standard_layout(), case.seg.as_standard_layout());
                let chunk = chunk_shape(shape, flat);
                let values = (data.as_slice().unwrap_or_default(), labels.as_slice().unwrap_or_default());
                [write_zarr(&image, shape, chunk, values.0)?, write_zarr(&seg, one, chunk, values.1)?]
            }
        };
        let rows = properties::rows(&case.properties);
        let classes = npy::write(&path("_classes.npy"), &[rows.len() / 4, 4], rows.iter(), false)?;
        let properties = Properties::of(&case.properties, [checksums[0], checksums[1], classes]);
        // This file comes last: where it is, the case is whole, unless the system has crashed, which the checksums tell.
        let text = json::to_string(&properties)?;
        let path = path(".json");
        write_unsynced(&path, |out| out.write_all(text.as_bytes())).map_err(|e| PreprocessError::io(&path, e))
    }
}

/// Shape of the chunks (128 KiB of image at most), cut evenly.
fn chunk_shape(shape: [usize; 4], flat: bool) -> [usize; 4] {
    let most = if flat { [1, 1, 128, 256] } else { [1, 32, 32, 32] };
    std::array::from_fn(|axis| shape[axis].max(1).div_ceil(shape[axis].max(1).div_ceil(most[axis])))
}
