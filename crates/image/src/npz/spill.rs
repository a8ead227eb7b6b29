//! Arrays that are larger than memory, written slab by slab.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter};
use rayon::prelude::*;

use crate::ImageError;
use crate::fs::write_atomic;

/// Values that are compressed together.
const PIECE: usize = 1 << 18;

/// An empty last block: what ends a deflated stream whose pieces all end on a byte.
const END: [u8; 2] = [3, 0];

/// The channels of an array, compressed piece by piece into a file without a name, in whatever order the channels' pieces come.
///
/// An archive wants one channel after the other, a computation makes a slab of all of them at a time. Pieces are deflated on
/// their own, several at once, and joined at the end: that copies bytes and computes nothing again. Memory holds what
/// [`Spill::push`] is given and as much again at most.
///
/// ```
/// use nnunet_image::npz::{Spill, read_npz_f32};
///
/// let folder = std::env::temp_dir();
/// let mut spill = Spill::new(&folder, 2)?;
/// spill.push(&[(0, &[1.0]), (1, &[3.0])])?;
/// spill.push(&[(0, &[2.0]), (1, &[4.0])])?;
/// let file = folder.join(format!("spill-{}.npz", std::process::id()));
/// spill.write_npz(&file, "a", &[2, 2])?;
/// assert_eq!(read_npz_f32(&file, "a")?, ndarray::array![[1.0, 2.0], [3.0, 4.0]].into_dyn());
/// # std::fs::remove_file(&file).unwrap();
/// # Ok::<(), nnunet_image::ImageError>(())
/// ```
#[derive(Debug)]
pub struct Spill {
    file: File,
    channels: Vec<Vec<Piece>>,
    end: u64,
}

/// Where a compressed piece lies, and what it is made of.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: u64,
    deflated: u64,
    bytes: u64,
    crc: u32,
}

impl Spill {
    /// Makes room in `folder`, which should be where the results will be; the file goes with this value.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn new(folder: &Path, channels: usize) -> Result<Self, ImageError> {
        let file = tempfile::tempfile_in(folder).map_err(|e| ImageError::io(folder, e))?;
        Ok(Self { file, channels: vec![Vec::new(); channels], end: 0 })
    }

    /// Appends values to channels.
    ///
    /// # Errors
    /// The disk is full, or there is no such channel.
    pub fn push(&mut self, values: &[(usize, &[f32])]) -> Result<(), ImageError> {
        self.append(values).map_err(|e| ImageError::io(Path::new("a temporary file"), e))
    }

    fn append(&mut self, values: &[(usize, &[f32])]) -> io::Result<()> {
        let pieces: Vec<_> = values
            .iter()
            .flat_map(|&(channel, values)| values.chunks(PIECE).map(move |piece| (channel, piece)))
            .collect();
        let deflated: Vec<_> = pieces
            .into_par_iter()
            .map_init(
                || (Compress::new(Compression::new(LEVEL), false), Vec::new()),
                |(state, bytes), (channel, values)| {
                    to_bytes(values, bytes);
                    Ok((channel, bytes.len() as u64, crc32fast::hash(bytes), deflate(state, bytes)?))
                },
            )
            .collect::<io::Result<_>>()?;
        self.file.seek(SeekFrom::Start(self.end))?;
        for (channel, bytes, crc, deflated) in deflated {
            let Some(pieces) = self.channels.get_mut(channel) else {
                return Err(io::Error::other(format!("there is no channel {channel}")));
            };
            self.file.write_all(&deflated)?;
            let piece = Piece { at: self.end, deflated: deflated.len() as u64, bytes, crc };
            pieces.push(piece);
            self.end += piece.deflated;
        }
        Ok(())
    }

    /// Writes all channels, one after the other, as the array `name` of an archive.
    ///
    /// # Errors
    /// The file cannot be written, or the channels are not what fills the shape.
    pub fn write_npz(&self, path: &Path, name: &str, shape: &[usize]) -> Result<(), ImageError> {
        let wanted = shape.iter().product::<usize>() * size_of::<f32>();
        let all = || self.channels.iter().flatten();
        check(path, shape, wanted, all())?;
        let header = npy_header(shape);
        let written = write_atomic(path, |out| {
            let mut archive = ZipArchiveWriter::new(BufWriter::with_capacity(1 << 16, out));
            let name = format!("{name}.npy");
            let file = archive.new_file(&name).compression_method(CompressionMethod::DEFLATE);
            let (mut entry, _) = file.start().map_err(io::Error::other)?;
            let (crc, bytes) = self.join(&header, all(), &mut entry)?;
            entry.finish(DataDescriptorOutput::new(crc, bytes)).map_err(io::Error::other)?;
            archive.finish().map_err(io::Error::other)?.flush()
        });
        written.map_err(|e| ImageError::io(path, e))
    }

    /// Writes one channel as a NIfTI file of 32-bit floats, compressed: `.nii.gz`.
    ///
    /// # Errors
    /// The file cannot be written, or the channel does not fill the shape.
    #[cfg(feature = "nifti")]
    pub fn write_nifti(
        &self,
        path: &Path,
        channel: usize,
        shape: [usize; 3],
        geometry: &crate::Geometry,
    ) -> Result<(), ImageError> {
        let pieces = || self.channels.get(channel).into_iter().flatten();
        check(path, &shape, shape.iter().product::<usize>() * size_of::<f32>(), pieces())?;
        let header = crate::nifti::header_as_itk(path, shape, geometry)?;
        let written = write_atomic(path, |out| {
            // Deflated, no name, no time, an unknown system.
            out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
            let (crc, bytes) = self.join(&header, pieces(), out)?;
            out.write_all(&crc.to_le_bytes())?;
            out.write_all(&(bytes as u32).to_le_bytes())
        });
        written.map_err(|e| ImageError::io(path, e))
    }

    /// A deflated stream of a header and pieces; returns checksum and length of what is in it.
    fn join<'a>(
        &self,
        header: &[u8],
        pieces: impl Iterator<Item = &'a Piece>,
        out: &mut (impl Write + ?Sized),
    ) -> io::Result<(u32, u64)> {
        out.write_all(&deflate(&mut Compress::new(Compression::new(LEVEL), false), header)?)?;
        let mut crc = Hasher::new();
        crc.update(header);
        let mut bytes = header.len() as u64;
        let mut file = &self.file;
        for piece in pieces {
            file.seek(SeekFrom::Start(piece.at))?;
            if io::copy(&mut file.take(piece.deflated), out)? != piece.deflated {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            crc.combine(&Hasher::new_with_initial_len(piece.crc, piece.bytes));
            bytes += piece.bytes;
        }
        out.write_all(&END)?;
        Ok((crc.finalize(), bytes))
    }
}

/// Probabilities are mostly noise. Those of a trained model come to 0.85 of their size with level 1, 0.766 with 2 and 0.754
/// with 6, at 108, 62 and 48 MB/s.
const LEVEL: u32 = 2;

fn check<'a>(
    path: &Path,
    shape: &[usize],
    wanted: usize,
    pieces: impl Iterator<Item = &'a Piece>,
) -> Result<(), ImageError> {
    let found: u64 = pieces.map(|piece| piece.bytes).sum();
    if found == wanted as u64 {
        return Ok(());
    }
    Err(ImageError::format(path, format!("{found} bytes for shape {shape:?}, expected {wanted}")))
}

fn to_bytes(values: &[f32], bytes: &mut Vec<u8>) {
    bytes.resize(size_of_val(values), 0);
    let places = bytes.as_chunks_mut::<4>().0;
    places.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
}

/// Deflates without header, to the end of a byte and without a last block.
fn deflate(state: &mut Compress, bytes: &[u8]) -> io::Result<Vec<u8>> {
    state.reset();
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 64 + 64);
    loop {
        let read = state.total_in() as usize;
        state.compress_vec(&bytes[read..], &mut out, FlushCompress::Full)?;
        if state.total_in() as usize == bytes.len() && out.len() < out.capacity() {
            out.shrink_to_fit();
            return Ok(out);
        }
        out.reserve(1 << 12);
    }
}

/// The header of a `.npy` file, version 1: its length is a multiple of 64.
fn npy_header(shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    while (text.len() + 11) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, s};

    use super::*;
    use crate::npz::read_npz_f32;

    #[test]
    fn pieces_of_channels_come_back_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        // More than one piece per channel and push; the second half compresses to nearly nothing.
        let n = PIECE + 1000;
        let whole = Array3::from_shape_fn((3, 2, n), |(c, z, i)| {
            if z == 0 { ((i * 2_654_435_761 + c) % 1009) as f32 * 0.37 } else { c as f32 }
        });
        let mut spill = Spill::new(folder.path(), 3).unwrap();
        for z in 0..2 {
            let slab = whole.slice(s![.., z, ..]);
            let rows: Vec<_> = slab.outer_iter().map(|row| row.to_vec()).collect();
            let parts: Vec<_> = rows.iter().enumerate().map(|(c, row)| (c, row.as_slice())).rev().collect();
            spill.push(&parts).unwrap();
        }
        spill.write_npz(&path, "x", &[3, 2, n]).unwrap();
        assert_eq!(read_npz_f32(&path, "x").unwrap(), whole.into_dyn());
        let error = spill.write_npz(&path, "x", &[3, 2, n + 1]).unwrap_err().to_string();
        assert!(error.contains("a.npz") && error.contains("expected"), "{error}");
        assert!(spill.push(&[(3, &[0.0])]).unwrap_err().to_string().contains("channel 3"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(feature = "nifti")]
    #[test]
    fn a_channel_is_a_nifti_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.nii.gz");
        let mut spill = Spill::new(folder.path(), 2).unwrap();
        for z in 0..3 {
            let row: Vec<f32> = (0..20).map(|i| (z * 20 + i) as f32 * 0.01).collect();
            spill.push(&[(1, &row)]).unwrap();
        }
        let geometry = crate::Geometry { spacing: [3.0, 0.5, 0.75], ..Default::default() };
        spill.write_nifti(&path, 1, [3, 4, 5], &geometry).unwrap();
        let image = crate::reader_by_name("SimpleITKIO").unwrap().read_images(&[path]).unwrap();
        assert_eq!(image.geometry, geometry);
        assert_eq!(
            image.data,
            ndarray::Array4::from_shape_fn((1, 3, 4, 5), |(_, z, y, x)| {
                (z * 20 + y * 5 + x) as f32 * 0.01
            })
        );
        assert!(spill.write_nifti(&folder.path().join("q.nii.gz"), 0, [3, 4, 5], &geometry).is_err());
    }
}
