use std::collections::HashMap;
use std::mem::size_of_val;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array3, Array4};
use nnunet_preprocess::{ClassLocations, PreviousStage, Store};

use crate::TrainError;

/// Stored voxels of the classes of a case.
pub type Locations = Arc<Vec<ClassLocations>>;

/// Voxels kept in memory between samples, in bytes; what does not fit is read again.
const CACHE_BYTES: usize = 256 << 20;

/// Where preprocessed cases come from. [`StoreSource`] reads those of a store; drawn or streamed data can stand in.
pub trait CaseSource: Send + Sync {
    /// Shape `[z, y, x]` of a case in voxels.
    ///
    /// # Errors
    /// If the case is not there or cannot be read.
    fn shape(&self, case: &str) -> Result<[usize; 3], TrainError>;

    /// The voxels from which forced patches are drawn, in the order of the classes.
    ///
    /// # Errors
    /// If the case is not there or cannot be read.
    fn locations(&self, case: &str) -> Result<Locations, TrainError>;

    /// A patch `[channel, z, y, x]` with its labels, padded with 0 and with the label -1 outside the case.
    ///
    /// # Errors
    /// If the case is not there or cannot be read.
    fn read_patch(
        &self,
        case: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<(Array4<f32>, Array3<i16>), TrainError>;

    /// The segmentation of a previous stage in the same patch, with -1 outside the case; none where there is none.
    ///
    /// # Errors
    /// If it should be there and cannot be read.
    fn read_previous(
        &self,
        _case: &str,
        _lower: [i64; 3],
        _size: [usize; 3],
    ) -> Result<Option<Array3<i16>>, TrainError> {
        Ok(None)
    }
}

/// Cases of a preprocessed [`Store`]. Shapes and, up to 256 MiB, voxel lists are remembered.
pub struct StoreSource {
    store: Store,
    previous: Option<PreviousStage>,
    shapes: Mutex<HashMap<String, [usize; 3]>>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    bytes: usize,
    cases: HashMap<String, Locations>,
}

impl StoreSource {
    /// Wraps a store.
    pub fn new(store: Store) -> Self {
        Self { store, previous: None, shapes: Mutex::default(), cache: Mutex::default() }
    }

    /// The same cases with the segmentations of a previous stage.
    pub fn with_previous(self, previous: PreviousStage) -> Self {
        Self { previous: Some(previous), ..self }
    }
}

impl CaseSource for StoreSource {
    fn shape(&self, case: &str) -> Result<[usize; 3], TrainError> {
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shape) = shapes.get(case) {
            return Ok(*shape);
        }
        let [_, z, y, x] = self.store.shape(case).map_err(|e| TrainError::case(case, e))?;
        shapes.insert(case.to_owned(), [z, y, x]);
        Ok([z, y, x])
    }

    fn locations(&self, case: &str) -> Result<Locations, TrainError> {
        let cached = |cache: &Mutex<Cache>| {
            cache.lock().unwrap_or_else(PoisonError::into_inner).cases.get(case).cloned()
        };
        if let Some(locations) = cached(&self.cache) {
            return Ok(locations);
        }
        let properties = self.store.properties(case).map_err(|e| TrainError::case(case, e))?;
        let locations = Arc::new(properties.class_locations);
        let bytes: usize = locations.iter().map(|class| size_of_val(class.voxels.as_slice())).sum();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.bytes + bytes <= CACHE_BYTES && !cache.cases.contains_key(case) {
            cache.bytes += bytes;
            cache.cases.insert(case.to_owned(), locations.clone());
        }
        Ok(locations)
    }

    fn read_patch(
        &self,
        case: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<(Array4<f32>, Array3<i16>), TrainError> {
        self.store.read_patch(case, lower, size).map_err(|e| TrainError::case(case, e))
    }

    fn read_previous(
        &self,
        case: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<Option<Array3<i16>>, TrainError> {
        let Some(previous) = &self.previous else { return Ok(None) };
        let shape = self.shape(case)?;
        previous.read_patch(case, shape, lower, size).map(Some).map_err(|e| TrainError::case(case, e))
    }
}
