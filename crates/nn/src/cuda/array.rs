//! Numbers in the memory of a device.

use std::ops::Range;
use std::sync::Arc;

use super::engine::{Engine, Kind};
use crate::NnError;

/// Numbers in the memory of a device; given back when dropped.
#[derive(Debug)]
pub struct Array {
    pointer: u64,
    len: usize,
    kind: Kind,
    engine: Arc<dyn Engine>,
}

/// A part of an array.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(crate) pointer: u64,
    pub(crate) len: usize,
    pub(crate) kind: Kind,
    pub(crate) engine: &'a Arc<dyn Engine>,
}

impl Array {
    /// An array whose values are still arbitrary.
    ///
    /// # Errors
    /// The device has no room.
    pub fn new(engine: &Arc<dyn Engine>, kind: Kind, len: usize) -> Result<Self, NnError> {
        let pointer = engine.allocate((len * kind.bytes()).max(1))?;
        Ok(Self { pointer, len, kind, engine: Arc::clone(engine) })
    }

    /// An array of zeros.
    ///
    /// # Errors
    /// The device has no room.
    pub fn zeros(engine: &Arc<dyn Engine>, kind: Kind, len: usize) -> Result<Self, NnError> {
        let array = Self::new(engine, kind, len)?;
        array.view().clear()?;
        Ok(array)
    }

    /// An f32 array with these values.
    ///
    /// # Errors
    /// The device has no room.
    pub fn of_f32(engine: &Arc<dyn Engine>, values: &[f32]) -> Result<Self, NnError> {
        let array = Self::new(engine, Kind::F32, values.len())?;
        array.view().write_f32(values)?;
        Ok(array)
    }

    /// An array of 16-bit integers.
    ///
    /// # Errors
    /// The device has no room.
    pub fn of_i16(engine: &Arc<dyn Engine>, values: &[i16]) -> Result<Self, NnError> {
        let array = Self::new(engine, Kind::I16, values.len())?;
        engine.write(array.pointer, bytemuck::cast_slice(values))?;
        Ok(array)
    }

    /// An array of bytes.
    ///
    /// # Errors
    /// The device has no room.
    pub fn of_u8(engine: &Arc<dyn Engine>, values: &[u8]) -> Result<Self, NnError> {
        let array = Self::new(engine, Kind::U8, values.len())?;
        engine.write(array.pointer, values)?;
        Ok(array)
    }

    /// All of it.
    pub fn view(&self) -> View<'_> {
        View { pointer: self.pointer, len: self.len, kind: self.kind, engine: &self.engine }
    }

    /// The values of an f32 array, or one of bf16 widened, once all work is done.
    ///
    /// # Errors
    /// The device failed, or the array holds other numbers.
    pub fn to_f32(&self) -> Result<Vec<f32>, NnError> {
        self.view().to_f32()
    }

    /// The values of an array of 16-bit integers, once all work is done.
    ///
    /// # Errors
    /// The device failed, or the array holds other numbers.
    pub fn to_i16(&self) -> Result<Vec<i16>, NnError> {
        self.view().expect(Kind::I16)?;
        let mut values = vec![0; self.len];
        self.engine.read(self.pointer, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// The values of an array of 32-bit integers, once all work is done.
    ///
    /// # Errors
    /// The device failed, or the array holds other numbers.
    pub fn to_u32(&self) -> Result<Vec<u32>, NnError> {
        self.view().expect(Kind::U32)?;
        let mut values = vec![0; self.len];
        self.engine.read(self.pointer, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// Numbers on their way to a device, beside its work.
#[derive(Debug)]
pub struct Parcel(Array);

impl Parcel {
    /// Sends f32 values.
    ///
    /// # Errors
    /// The device has no room.
    pub fn of_f32(engine: &Arc<dyn Engine>, values: &[f32]) -> Result<Self, NnError> {
        Self::of(engine, Kind::F32, values.len(), bytemuck::cast_slice(values))
    }

    /// Sends 16-bit integers.
    ///
    /// # Errors
    /// The device has no room.
    pub fn of_i16(engine: &Arc<dyn Engine>, values: &[i16]) -> Result<Self, NnError> {
        Self::of(engine, Kind::I16, values.len(), bytemuck::cast_slice(values))
    }

    fn of(engine: &Arc<dyn Engine>, kind: Kind, len: usize, bytes: &[u8]) -> Result<Self, NnError> {
        let pointer = engine.send(bytes)?;
        Ok(Self(Array { pointer, len, kind, engine: Arc::clone(engine) }))
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The array, for work that is asked for from now on.
    ///
    /// # Errors
    /// The device failed.
    pub fn open(self) -> Result<Array, NnError> {
        self.0.engine.arrive(self.0.pointer)?;
        Ok(self.0)
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        self.engine.release(self.pointer, (self.len * self.kind.bytes()).max(1));
    }
}

impl<'a> View<'a> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it.
    ///
    /// # Errors
    /// The part lies outside.
    pub fn range(self, range: Range<usize>) -> Result<Self, NnError> {
        if range.start > range.end || range.end > self.len {
            return Err(NnError::Unsupported(format!("values {range:?} of an array of {}", self.len)));
        }
        let pointer = self.pointer + (range.start * self.kind.bytes()) as u64;
        Ok(Self { pointer, len: range.end - range.start, ..self })
    }

    /// Fills it with zeros.
    ///
    /// # Errors
    /// The device failed.
    pub fn clear(&self) -> Result<(), NnError> {
        self.engine.clear(self.pointer, self.len * self.kind.bytes())
    }

    /// Replaces the values of an f32 array.
    ///
    /// # Errors
    /// Another number of values, or the device failed.
    pub fn write_f32(&self, values: &[f32]) -> Result<(), NnError> {
        self.expect(Kind::F32)?;
        self.holds(values.len())?;
        self.engine.write(self.pointer, bytemuck::cast_slice(values))
    }

    /// See [`Array::to_f32`].
    ///
    /// # Errors
    /// As there.
    pub fn to_f32(self) -> Result<Vec<f32>, NnError> {
        if self.kind == Kind::Bf16 {
            return super::ops::widen(self)?.to_f32();
        }
        self.expect(Kind::F32)?;
        let mut values = vec![0.0; self.len];
        self.engine.read(self.pointer, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// The kind of its values.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The values of an f64 array, once all work is done.
    ///
    /// # Errors
    /// The device failed, or the array holds other numbers.
    pub fn to_f64(self) -> Result<Vec<f64>, NnError> {
        self.expect(Kind::F64)?;
        let mut values = vec![0.0; self.len];
        self.engine.read(self.pointer, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Replaces the values of an f64 array.
    ///
    /// # Errors
    /// Another number of values, or the device failed.
    pub fn write_f64(&self, values: &[f64]) -> Result<(), NnError> {
        self.expect(Kind::F64)?;
        self.holds(values.len())?;
        self.engine.write(self.pointer, bytemuck::cast_slice(values))
    }

    pub(crate) fn expect(&self, kind: Kind) -> Result<(), NnError> {
        if self.kind != kind {
            return Err(NnError::Unsupported(format!("an array of {:?}, expected {kind:?}", self.kind)));
        }
        Ok(())
    }

    /// Checks the number of values.
    pub(crate) fn holds(&self, expected: usize) -> Result<(), NnError> {
        if self.len != expected {
            return Err(NnError::Unsupported(format!(
                "an array of {} values, expected {expected}",
                self.len
            )));
        }
        Ok(())
    }
}
