//! Zarr 3 arrays of one shard: a folder with `zarr.json` and one file of compressed chunks, the table of their places at its end.
//!
//! Chunks are Blosc with LZ4 and a CRC-32C each; the table has one, too.

use std::fs::File;
use std::path::Path;

use nnunet_fingerprint::json;
use nnunet_image::fs::write_unsynced;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{Chunked, Place, blosc, fits, grid, linear};
use crate::PreprocessError;
use crate::npy::{Element, checksum, read_at};

/// The only chunk of an array's grid, which is its shard.
const SHARD: &str = "c/0/0/0/0";
/// Place and length of a chunk that is not there.
const ABSENT: u64 = u64::MAX;
/// A table may not be longer.
const MOST_CHUNKS: usize = 1 << 26;
/// Types, as NumPy and as Zarr name them.
const TYPES: [(&str, &str, usize); 2] = [("<f4", "float32", 4), ("<i2", "int16", 2)];

/// Writes an array (channel, z, y, x) in chunks of this shape, the last ones filled up with zeros. Gives the CRC-32 of its
/// numbers.
pub(crate) fn write<T: Element + Sync>(
    folder: &Path,
    shape: [usize; 4],
    chunk: [usize; 4],
    values: &[T],
) -> Result<u32, PreprocessError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |e| PreprocessError::io(&path, e)
    };
    let file = folder.join(SHARD);
    let parent = file.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(io(parent))?;
    let shuffled = shuffling_helps(values, shape, chunk);
    let described = serde_json::to_string_pretty(&description::<T>(shape, chunk, shuffled))
        .map_err(|e| PreprocessError::store(folder, e.to_string()))?;
    let grid = grid(shape, chunk);
    let row: usize = grid[2] * grid[3];
    write_unsynced(&file, |out| {
        let mut table = Vec::new();
        let mut at = 0u64;
        for first in (0..grid.iter().product()).step_by(row.max(1)) {
            let encode = |index: usize| {
                let numbers = gather(values, shape, chunk, unlinear(index, grid));
                let mut bytes = blosc::encode(&numbers, T::SIZE, shuffled);
                bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
                bytes
            };
            let chunks: Vec<Vec<u8>> = (first..first + row).into_par_iter().map(encode).collect();
            for bytes in chunks {
                table.extend([at, bytes.len() as u64].map(u64::to_le_bytes).as_flattened());
                at += bytes.len() as u64;
                out.write_all(&bytes)?;
            }
        }
        out.write_all(&table)?;
        out.write_all(&crc32c::crc32c(&table).to_le_bytes())
    })
    .map_err(io(&file))?;
    // This file comes last: where it is, there is an array.
    let path = folder.join("zarr.json");
    write_unsynced(&path, |out| out.write_all(described.as_bytes())).map_err(io(&path))?;
    Ok(checksum(values.iter()))
}

fn unlinear(index: usize, [_, z, y, x]: [usize; 4]) -> [usize; 4] {
    [index / (x * y * z), index / (x * y) % z, index / x % y, index % x]
}

/// The bytes of a chunk.
fn gather<T: Element>(values: &[T], shape: [usize; 4], chunk: [usize; 4], index: [usize; 4]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunk.iter().product::<usize>() * T::SIZE);
    let start: [usize; 4] = std::array::from_fn(|axis| index[axis] * chunk[axis]);
    let row = chunk[3].min(shape[3] - start[3]);
    for c in start[0]..start[0] + chunk[0] {
        for z in start[1]..start[1] + chunk[1] {
            for y in start[2]..start[2] + chunk[2] {
                let end = bytes.len() + chunk[3] * T::SIZE;
                if c < shape[0] && z < shape[1] && y < shape[2] {
                    let first = linear([c, z, y, start[3]], shape);
                    values[first..first + row].iter().for_each(|value| value.put(&mut bytes));
                }
                bytes.resize(end, 0);
            }
        }
    }
    bytes
}

/// Whether the chunk in the middle is smaller with its bytes shuffled.
fn shuffling_helps<T: Element>(values: &[T], shape: [usize; 4], chunk: [usize; 4]) -> bool {
    let middle = grid(shape, chunk).map(|n| n / 2);
    let numbers = gather(values, shape, chunk, middle);
    blosc::encode(&numbers, T::SIZE, true).len() < blosc::encode(&numbers, T::SIZE, false).len()
}

fn description<T: Element>(shape: [usize; 4], chunk: [usize; 4], shuffled: bool) -> Value {
    let grid = grid(shape, chunk);
    let shard: [usize; 4] = std::array::from_fn(|axis| grid[axis] * chunk[axis]);
    let name = TYPES.iter().find(|(descr, ..)| *descr == T::DESCR).map_or("", |(_, name, _)| *name);
    let bytes = json!({"name": "bytes", "configuration": {"endian": "little"}});
    let blosc = json!({"name": "blosc", "configuration": {
        "typesize": T::SIZE, "cname": "lz4", "clevel": 5, "shuffle": if shuffled { "shuffle" } else { "noshuffle" },
        "blocksize": 0}});
    let check = json!({"name": "crc32c"});
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": chunk,
            "codecs": [bytes, blosc, check],
            "index_codecs": [bytes, check],
            "index_location": "end"}}],
        "dimension_names": ["channel", "z", "y", "x"],
        "attributes": {},
    })
}

/// Opens an array and reads its table of chunks.
pub(super) fn open(folder: &Path) -> Result<Chunked, PreprocessError> {
    let described = folder.join("zarr.json");
    let wrong = |reason: String| PreprocessError::store(&described, reason);
    let json: Value = json::read(&described)?;
    let (descr, width, shape, chunk) = layout(&json).map_err(|what| {
        wrong(format!("{what} is not as `nnunet preprocess` writes it (one shard of Blosc chunks)"))
    })?;
    let grid = grid(shape, chunk);
    let chunks = grid.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= MOST_CHUNKS);
    let chunks = chunks.ok_or_else(|| wrong(format!("shape {shape:?} in chunks of {chunk:?}")))?;
    let path = folder.join(SHARD);
    let io = |e| PreprocessError::io(&path, e);
    let file = File::open(&path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let end = chunks as u64 * 16 + 4;
    let damaged =
        |reason: &str| PreprocessError::store(&path, format!("{reason}; run `nnunet preprocess` again"));
    let first = length.checked_sub(end).ok_or_else(|| damaged("too short for its table of chunks"))?;
    let mut table = vec![0u8; end as usize];
    read_at(&file, &mut table, first).map_err(io)?;
    let (table, check) = table.split_at(chunks * 16);
    if crc32c::crc32c(table).to_le_bytes() != check {
        return Err(damaged("the checksum of the table of chunks is wrong"));
    }
    let place = |pair: &[[u8; 8]; 2]| match pair.map(u64::from_le_bytes) {
        [ABSENT, ABSENT] => Ok(Place::Zeros),
        [at, bytes] if at.checked_add(bytes).is_some_and(|end| end <= first) => {
            Ok(Place::Bytes { first: at, length: bytes as usize, checked: true })
        }
        _ => Err(damaged("a chunk lies outside the file")),
    };
    let places = table.as_chunks::<8>().0.as_chunks::<2>().0.iter().map(place).collect::<Result<_, _>>()?;
    Ok(Chunked { path, file, descr, width, shape, chunk, block: chunk, places })
}

type Layout = (&'static str, usize, [usize; 4], [usize; 4]);

/// Type, shape and chunks; the error is what differs from what is written here.
fn layout(json: &Value) -> Result<Layout, &'static str> {
    let sizes = |value: &Value| -> Option<[usize; 4]> {
        let list: Option<Vec<usize>> =
            value.as_array()?.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
        list?.try_into().ok().filter(|sizes: &[usize; 4]| sizes.iter().all(|&n| n > 0 && n < 1 << 31))
    };
    let name = json["data_type"].as_str().unwrap_or_default();
    let (descr, _, width) = *TYPES.iter().find(|(_, zarr, _)| *zarr == name).ok_or("data_type")?;
    let shape = sizes(&json["shape"]).filter(|&shape| fits(shape)).ok_or("shape")?;
    let shard = sizes(&json["chunk_grid"]["configuration"]["chunk_shape"]).ok_or("chunk_grid")?;
    let [codec] = json["codecs"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err("codecs");
    };
    let inner = &codec["configuration"];
    let chunk = sizes(&inner["chunk_shape"]).ok_or("codecs.chunk_shape")?;
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|codec| codec["name"].as_str().map(str::to_owned)).collect()
    };
    if codec["name"] != "sharding_indexed" || names(&inner["codecs"]) != ["bytes", "blosc", "crc32c"] {
        return Err("codecs");
    }
    if names(&inner["index_codecs"]) != ["bytes", "crc32c"] || inner["index_location"] != "end" {
        return Err("index_codecs");
    }
    let grid = grid(shape, chunk);
    let numbers = chunk.iter().try_fold(width, |n, &size| n.checked_mul(size));
    if (0..4).any(|axis| grid[axis] * chunk[axis] != shard[axis]) || numbers.is_none_or(|n| n > 1 << 29) {
        return Err("chunk_grid");
    }
    Ok((descr, width, shape, chunk))
}
