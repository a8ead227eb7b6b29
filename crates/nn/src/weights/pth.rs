//! nnU-Net's checkpoints: a zip archive with a pickle that is read as data and never executed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::pickle::{Object, Stack, read_all_with_key};

use super::ModelCheckpoint;
use crate::NnError;

/// Pickles beyond this are refused; nnU-Net's have tens to hundreds of kilobytes.
const MOST_PICKLE: u64 = 256 << 20;

pub(super) fn read_model(path: &Path) -> Result<ModelCheckpoint, NnError> {
    let root = read_pickle(path)?;
    let wrong = |e: candle_core::Error| NnError::checkpoint(path, format!("cannot read network_weights: {e}"));
    let weights = read_all_with_key(path, Some("network_weights")).map_err(wrong)?;
    if weights.is_empty() {
        return Err(NnError::checkpoint(path, "there are no network_weights; is this a checkpoint of nnU-Net v2?"));
    }
    let text = |object: Option<&Object>| match object {
        Some(Object::Unicode(text)) => text.clone(),
        _ => String::new(),
    };
    let init_args = get(&root, "init_args");
    Ok(ModelCheckpoint {
        weights: weights.into_iter().collect(),
        trainer_name: text(get(&root, "trainer_name")),
        configuration: text(init_args.and_then(|args| get(args, "configuration"))),
        mirror_axes: axes(get(&root, "inference_allowed_mirroring_axes")),
    })
}

/// The pickled object of the archive.
fn read_pickle(path: &Path) -> Result<Object, NnError> {
    let file = File::open(path).map_err(|source| NnError::Io { path: path.to_owned(), source })?;
    let broken = |what: String| NnError::checkpoint(path, what);
    let mut archive = zip::ZipArchive::new(BufReader::new(file))
        .map_err(|e| broken(format!("not a PyTorch checkpoint (a zip archive): {e}")))?;
    let name = archive
        .file_names()
        .flatten()
        .find(|name| name.ends_with("/data.pkl"))
        .map(|name| name.into_owned())
        .ok_or_else(|| broken("the archive has no data.pkl".to_owned()))?;
    let entry = archive.by_name(&name).map_err(|e| broken(format!("{name}: {e}")))?;
    let mut bytes = Vec::new();
    entry.take(MOST_PICKLE).read_to_end(&mut bytes).map_err(|e| broken(format!("{name}: {e}")))?;
    let mut stack = Stack::empty();
    stack
        .read_loop(&mut bytes.as_slice())
        .and_then(|()| stack.finalize())
        .map_err(|e| broken(format!("{name} cannot be read: {e}")))
}

fn get<'a>(object: &'a Object, key: &str) -> Option<&'a Object> {
    let Object::Dict(entries) = object else { return None };
    entries.iter().find(|(k, _)| matches!(k, Object::Unicode(text) if text == key)).map(|(_, value)| value)
}

/// A tuple of small integers.
fn axes(object: Option<&Object>) -> Option<Vec<usize>> {
    let (Some(Object::Tuple(items)) | Some(Object::List(items))) = object else { return None };
    items
        .iter()
        .map(|item| match item {
            Object::Int(n) => usize::try_from(*n).ok(),
            Object::Long(n) => usize::try_from(*n).ok(),
            _ => None,
        })
        .collect()
}
