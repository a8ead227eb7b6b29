//! Means of probabilities that are read piece by piece.

use std::path::PathBuf;

use ndarray::Array3;
use nnunet_fingerprint::LabelRules;
use nnunet_image::npz::{NpzFile, NpzStream};

use crate::InferError;

/// Values that are read together.
const PIECE: usize = 1 << 20;

/// Files of probabilities of the same case.
pub(super) struct Members {
    files: Vec<(PathBuf, NpzFile)>,
}

impl Members {
    pub(super) fn open(files: &[PathBuf]) -> Result<Self, InferError> {
        let open = |path: &PathBuf| Ok((path.clone(), NpzFile::open(path)?));
        Ok(Self { files: files.iter().map(open).collect::<Result<_, InferError>>()? })
    }
}

/// The mean of the arrays `probabilities`, summed in the order of the files in single precision.
pub(super) struct Mean<'a> {
    /// Channels, z, y, x.
    pub(super) shape: [usize; 4],
    streams: Vec<NpzStream<'a>>,
    member: Vec<f32>,
}

impl<'a> Mean<'a> {
    /// # Errors
    /// No file, a file without such an array, or shapes that differ.
    pub(super) fn of(members: &'a mut Members) -> Result<Self, InferError> {
        let mut first: Option<(PathBuf, [usize; 4])> = None;
        let mut streams = Vec::new();
        for (path, file) in &mut members.files {
            let stream = file.stream("probabilities")?;
            let found = stream.shape();
            let shape: [usize; 4] = found.try_into().map_err(|_| {
                InferError::file(
                    path,
                    format!("probabilities of shape {found:?}, expected (channel, z, y, x)"),
                )
            })?;
            match &first {
                None => first = Some((path.clone(), shape)),
                Some((_, expected)) if *expected == shape => {}
                Some((other, expected)) => {
                    let other = other.display();
                    let reason = format!("probabilities of shape {shape:?}, {other} has {expected:?}");
                    return Err(InferError::file(path, reason));
                }
            }
            streams.push(stream);
        }
        let (_, shape) = first.ok_or(InferError::NoNetwork)?;
        Ok(Self { shape, streams, member: Vec::new() })
    }

    /// Values to read at a time: no more than a channel has.
    pub(super) fn piece(&self) -> usize {
        self.shape[1..].iter().product::<usize>().clamp(1, PIECE)
    }

    /// The next values.
    pub(super) fn read(&mut self, mean: &mut [f32]) -> Result<(), InferError> {
        let count = self.streams.len() as f32;
        self.member.resize(mean.len(), 0.0);
        for (number, stream) in self.streams.iter_mut().enumerate() {
            if number == 0 {
                stream.read(mean)?;
                continue;
            }
            stream.read(&mut self.member)?;
            mean.iter_mut().zip(&self.member).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|value| *value /= count);
        Ok(())
    }
}

/// Labels that are decided upon channel by channel: the largest probability, the first of several; of regions, the last in
/// the class order that is above one half.
pub(super) struct Decided<'a> {
    labels: Array3<i16>,
    /// The largest probability so far; nothing where there are regions.
    best: Vec<f32>,
    order: Option<&'a [i16]>,
}

impl<'a> Decided<'a> {
    pub(super) fn new(shape: [usize; 3], rules: &'a LabelRules) -> Self {
        let voxels = shape.iter().product();
        let order = rules.regions_class_order();
        let best = if order.is_some() { 0 } else { voxels };
        Self { labels: Array3::zeros(shape), best: vec![0.0; best], order }
    }

    /// Takes the values of a channel from voxel `start` on; channels come in their order.
    pub(super) fn take(&mut self, channel: usize, start: usize, values: &[f32]) {
        let Some(labels) = self.labels.as_slice_mut() else { return };
        let labels = &mut labels[start..start + values.len()];
        if let Some(order) = self.order {
            let Some(&region) = order.get(channel) else { return };
            labels.iter_mut().zip(values).filter(|(_, p)| **p > 0.5).for_each(|(label, _)| *label = region);
            return;
        }
        let best = &mut self.best[start..start + values.len()];
        if channel == 0 {
            best.copy_from_slice(values);
            return;
        }
        for ((label, best), &value) in labels.iter_mut().zip(best).zip(values) {
            if value > *best {
                (*label, *best) = (channel as i16, value);
            }
        }
    }

    pub(super) fn labels(self) -> Array3<i16> {
        self.labels
    }
}
