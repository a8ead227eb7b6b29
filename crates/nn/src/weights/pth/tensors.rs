//! The tensors of a state dictionary.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::archive::Archive;
use crate::NnError;
use crate::weights::pickle::{Id, Pickle, Value};

/// Reads the tensors of a file as 32-bit floats. Names that share their values share the tensor.
pub(super) struct Tensors<'a> {
    pickle: &'a Pickle,
    archive: &'a mut Archive,
    known: HashMap<View, Tensor>,
    /// Bytes that may still be read: views that overlap could ask for any amount of memory.
    left: u64,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(pickle: &'a Pickle, archive: &'a mut Archive) -> Self {
        let left = archive.length();
        Self { pickle, archive, known: HashMap::new(), left }
    }

    /// All tensors of a dictionary, in its order.
    pub(super) fn all(&mut self, dictionary: Id) -> Result<Vec<(String, Tensor)>, NnError> {
        let Value::Dict(entries) = self.pickle.get(dictionary) else {
            return Err(self.archive.wrong("network_weights: expected a dictionary"));
        };
        let mut weights = Vec::with_capacity(entries.len());
        for &(name, value) in entries {
            let Some(name) = self.pickle.text(name) else {
                return Err(self.archive.wrong("network_weights: a name is not a text"));
            };
            weights.push((name.to_owned(), self.one(value, &format!("weight {name}"))?));
        }
        if weights.is_empty() {
            return Err(self.archive.wrong("network_weights are empty"));
        }
        Ok(weights)
    }

    /// One tensor, called `what` in errors.
    pub(super) fn one(&mut self, id: Id, what: &str) -> Result<Tensor, NnError> {
        let view = view(self.pickle, id).map_err(|e| self.archive.wrong(format!("{what}: {e}")))?;
        if let Some(tensor) = self.known.get(&view) {
            return Ok(tensor.clone());
        }
        let size = view.length().unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            self.archive.wrong(format!("{what}: shape {:?}, the file has no so many values", view.shape))
        })?;
        let tensor = load(&view, what, self.archive)?;
        self.known.insert(view, tensor.clone());
        Ok(tensor)
    }
}

/// A part of a storage.
#[derive(Debug, PartialEq, Eq, Hash)]
struct View {
    storage: String,
    dtype: Kind,
    /// Values in the storage.
    stored: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    U8,
}

impl Kind {
    fn dtype(self) -> DType {
        match self {
            Self::I64 => DType::I64,
            Self::I32 => DType::I32,
            Self::I16 => DType::I16,
            Self::U8 => DType::U8,
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl View {
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
    }

    /// Bytes of the view's values.
    fn length(&self) -> Option<u64> {
        (self.count()? as u64).checked_mul(self.dtype.dtype().size_in_bytes() as u64)
    }

    /// Number of the last value in the storage; none for an empty view or one beyond all bounds.
    fn last(&self) -> Option<usize> {
        let mut last = self.offset;
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add(size.checked_sub(1)?.checked_mul(stride)?)?;
        }
        Some(last)
    }

    /// Number in the storage of each value, row-major.
    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![self.offset];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            positions = positions.iter().flat_map(|p| (0..size).map(move |i| p + i * stride)).collect();
        }
        positions
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }
}

/// Reads `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, …)`.
fn view(pickle: &Pickle, id: Id) -> Result<View, String> {
    let arguments = match pickle.call(id) {
        Some(("torch._utils _rebuild_tensor_v2", arguments)) => arguments,
        Some(("torch._utils _rebuild_parameter", [inner, ..])) => match pickle.call(*inner) {
            Some(("torch._utils _rebuild_tensor_v2", arguments)) => arguments,
            other => return Err(format!("expected a tensor in the parameter, found {other:?}")),
        },
        Some((other, _)) => return Err(format!("expected a tensor, found {other}")),
        None => return Err("expected a tensor".to_owned()),
    };
    let &[storage, offset, shape, strides, ..] = arguments else {
        return Err(format!("{} arguments of a tensor, expected at least 4", arguments.len()));
    };
    let (storage, dtype, stored) = storage_of(pickle, storage)?;
    let number = "a tensor whose place is not given by numbers";
    let view = View {
        storage,
        dtype,
        stored,
        offset: pickle.size(offset).ok_or(number)?,
        shape: pickle.sizes(shape).ok_or(number)?,
        strides: pickle.sizes(strides).ok_or(number)?,
    };
    let within = view.last().is_some_and(|last| last < view.stored);
    if view.strides.len() != view.shape.len() || !within || view.count().is_none_or(|n| n > view.stored) {
        return Err(format!(
            "shape {:?}, strides {:?} from {} on, the storage has {} values",
            view.shape, view.strides, view.offset, view.stored
        ));
    }
    Ok(view)
}

/// Name, type and number of values of a persistent `("storage", class, name, device, values)`.
fn storage_of(pickle: &Pickle, id: Id) -> Result<(String, Kind, usize), String> {
    let Value::Persistent(inner) = pickle.get(id) else { return Err("a tensor without storage".to_owned()) };
    let Some(&[_, class, name, _, count]) = pickle.items(*inner) else {
        return Err("a storage without name, type and length".to_owned());
    };
    let kind = match pickle.get(class) {
        Value::Class(class) => match &**class {
            "torch FloatStorage" => Kind::F32,
            "torch DoubleStorage" => Kind::F64,
            "torch HalfStorage" => Kind::F16,
            "torch BFloat16Storage" => Kind::Bf16,
            "torch LongStorage" => Kind::I64,
            "torch IntStorage" => Kind::I32,
            "torch ShortStorage" => Kind::I16,
            "torch ByteStorage" | "torch BoolStorage" => Kind::U8,
            other => return Err(format!("values of type {other:?}, expected floats or integers")),
        },
        _ => return Err("a storage without type".to_owned()),
    };
    match (pickle.text(name), pickle.size(count)) {
        (Some(name), Some(count)) => Ok((name.to_owned(), kind, count)),
        _ => Err("a storage without name or length".to_owned()),
    }
}

fn load(view: &View, what: &str, archive: &mut Archive) -> Result<Tensor, NnError> {
    let dtype = view.dtype.dtype();
    let size = dtype.size_in_bytes();
    let length = (view.stored as u64).saturating_mul(size as u64);
    let bytes = archive.storage(&view.storage, length).map_err(|e| match e {
        NnError::Checkpoint { reason, .. } => archive.wrong(format!("{what}: {reason}")),
        other => other,
    })?;
    if view.is_contiguous() {
        let start = view.offset * size;
        let bytes = &bytes[start..start + view.shape.iter().product::<usize>() * size];
        return Ok(Tensor::from_raw_buffer(bytes, dtype, &view.shape, &Device::Cpu)?.to_dtype(DType::F32)?);
    }
    let all = Tensor::from_raw_buffer(&bytes, dtype, &[view.stored], &Device::Cpu)?.to_dtype(DType::F32)?;
    let all: Vec<f32> = all.to_vec1()?;
    let values: Vec<f32> = view.positions().into_iter().map(|p| all[p]).collect();
    Ok(Tensor::from_vec(values, view.shape.as_slice(), &Device::Cpu)?)
}
