//! Logits that are put aside in a file until all blocks of a case are there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;
use nnunet_image::BoundingBox;

use crate::InferError;
use crate::logits::{Logits, Values, zeros};

/// Logits of a box of the network's grid, `(z, y, x, channel)`, in a file without a name.
#[derive(Debug)]
pub(crate) struct Shelf {
    file: File,
    folder: PathBuf,
    whole: BoundingBox,
    channels: usize,
    half: bool,
}

impl Shelf {
    /// Room for the logits of `whole` in `folder`; `half` says that they are numbers of half precision.
    pub(crate) fn new(
        folder: &Path,
        whole: BoundingBox,
        channels: usize,
        half: bool,
    ) -> Result<Self, InferError> {
        let file = tempfile::tempfile_in(folder).map_err(|source| InferError::io(folder, source))?;
        Ok(Self { file, folder: folder.to_owned(), whole, channels, half })
    }

    fn failed(&self, source: io::Error) -> InferError {
        InferError::io(&self.folder, source)
    }

    /// Puts the logits of a box in their place. Boxes may overlap.
    pub(crate) fn write(&self, place: BoundingBox, logits: &Logits) -> Result<(), InferError> {
        let width = self.value_bytes();
        let mut bytes = Vec::new();
        let mut file = &self.file;
        self.runs(place, |at, from, to| {
            bytes.clear();
            match &logits.values {
                Values::F32(values) => values[from..to].iter().for_each(|v| bytes.extend(v.to_le_bytes())),
                Values::F16(values) => values[from..to].iter().for_each(|v| bytes.extend(v.to_le_bytes())),
            }
            debug_assert_eq!(bytes.len(), (to - from) * width);
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes)
        })
        .map_err(|e| self.failed(e))
    }

    /// The logits of a box.
    pub(crate) fn read(&self, place: BoundingBox) -> Result<Logits, InferError> {
        let len = place.shape().iter().product::<usize>() * self.channels;
        let values = if self.half {
            let mut values = zeros::<f16>(len)?;
            self.load(place, &mut values, f16::from_le_bytes)?;
            Values::F16(values)
        } else {
            let mut values = zeros::<f32>(len)?;
            self.load(place, &mut values, f32::from_le_bytes)?;
            Values::F32(values)
        };
        Ok(Logits { shape: place.shape(), channels: self.channels, values })
    }

    fn load<const WIDTH: usize, N>(
        &self,
        place: BoundingBox,
        values: &mut [N],
        number: fn([u8; WIDTH]) -> N,
    ) -> Result<(), InferError> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        self.runs(place, |at, from, to| {
            bytes.resize((to - from) * WIDTH, 0);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)?;
            let read = bytes.as_chunks::<WIDTH>().0;
            values[from..to].iter_mut().zip(read).for_each(|(to, bytes)| *to = number(*bytes));
            Ok(())
        })
        .map_err(|e| self.failed(e))
    }

    fn value_bytes(&self) -> usize {
        if self.half { size_of::<f16>() } else { size_of::<f32>() }
    }

    /// Calls `each` with the place in the file and the values of the box, for all runs of values that lie together in both.
    fn runs(
        &self,
        place: BoundingBox,
        mut each: impl FnMut(u64, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let [depth, height, width] = place.shape();
        let [_, rows, columns] = self.whole.shape();
        let offset: [usize; 3] = std::array::from_fn(|axis| place.start[axis] - self.whole.start[axis]);
        // Whole rows lie together.
        let (count, lines) = if width == columns { (1, height) } else { (height, 1) };
        for z in 0..depth {
            for run in 0..count {
                let first = ((offset[0] + z) * rows + offset[1] + run * lines) * columns + offset[2];
                let from = (z * height + run * lines) * width * self.channels;
                let at = (first * self.channels * self.value_bytes()) as u64;
                each(at, from, from + lines * width * self.channels)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let whole = BoundingBox { start: [1, 0, 2], end: [5, 4, 7] };
        let value = |z: usize, y: usize, x: usize, c: usize| (1000 * z + 100 * y + 10 * x + c) as f32;
        let logits = |place: BoundingBox, half: bool| {
            let mut values = Vec::new();
            for z in place.start[0]..place.end[0] {
                for y in place.start[1]..place.end[1] {
                    for x in place.start[2]..place.end[2] {
                        values.extend((0..2).map(|c| value(z, y, x, c)));
                    }
                }
            }
            let values = if half {
                Values::F16(values.into_iter().map(|v| f16::from_f32(v / 8.0)).collect())
            } else {
                Values::F32(values)
            };
            Logits { shape: place.shape(), channels: 2, values }
        };
        let bounds = |start, end| BoundingBox { start, end };
        for half in [false, true] {
            let shelf = Shelf::new(folder.path(), whole, 2, half).unwrap();
            // Two blocks that overlap.
            for part in [bounds([1, 0, 2], [4, 4, 7]), bounds([3, 0, 2], [5, 4, 7])] {
                shelf.write(part, &logits(part, half)).unwrap();
            }
            for part in [whole, bounds([2, 1, 2], [4, 3, 7]), bounds([1, 0, 4], [5, 4, 6])] {
                let (found, expected) = (shelf.read(part).unwrap(), logits(part, half));
                assert_eq!(found.shape, expected.shape);
                assert_eq!(found.to_array(), expected.to_array(), "{part:?}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
