//! `postprocessing.json` and the reference's `postprocessing.pkl`.

use std::path::Path;

use nnunet_fingerprint::{Class, json};
use nnunet_nn::weights::pickle::{Plain, read_plain, write_plain};
use serde_json::Value;

use super::{KeepLargest, Postprocessing};
use crate::InferError;

/// Where the reference's function lives, and its name.
const MODULE: &str = "nnunetv2.postprocessing.remove_connected_components";
pub(super) const FUNCTION: &str = "remove_all_but_largest_component_from_segmentation";
/// The argument that names the labels.
pub(super) const ARGUMENT: &str = "labels_or_regions";

impl Postprocessing {
    /// Reads `postprocessing.json` or `postprocessing.pkl`, from whichever of both programs; nothing in it is executed.
    ///
    /// # Errors
    /// A file that cannot be read, or a step that is not known.
    pub fn read(path: &Path) -> Result<Self, InferError> {
        let (functions, arguments) = if path.extension().is_some_and(|ending| ending == "pkl") {
            let bytes = std::fs::read(path).map_err(|source| InferError::io(path, source))?;
            let value = read_plain(&bytes).map_err(|reason| InferError::file(path, reason))?;
            pair(&value)
                .ok_or_else(|| InferError::file(path, "expected a pair of functions and arguments"))?
        } else {
            let value: Value = json::read(path)?;
            let list = |key: &str| value.get(key).and_then(Value::as_array).cloned();
            list("postprocessing_fns").zip(list("postprocessing_kwargs")).ok_or_else(|| {
                InferError::file(path, "expected lists postprocessing_fns and postprocessing_kwargs")
            })?
        };
        if functions.len() != arguments.len() {
            let (functions, arguments) = (functions.len(), arguments.len());
            return Err(InferError::file(path, format!("{functions} functions, but {arguments} arguments")));
        }
        let mut steps = Vec::new();
        for (function, argument) in functions.iter().zip(&arguments) {
            if function.as_str() != Some(FUNCTION) {
                return Err(InferError::file(
                    path,
                    format!("function {function} is not known, expected {FUNCTION}"),
                ));
            }
            let step = argument.get(ARGUMENT).and_then(step);
            let wrong = || InferError::file(path, format!("{ARGUMENT}: expected labels, found {argument}"));
            steps.push(step.ok_or_else(wrong)?);
        }
        Ok(Self { steps })
    }

    /// Writes `postprocessing.pkl`, which nnU-Net can apply.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_pickle(&self, path: &Path) -> Result<(), InferError> {
        let function = || Plain::Global(MODULE.to_owned(), FUNCTION.to_owned());
        let arguments = |step: &KeepLargest| Plain::dict([(ARGUMENT, argument(step))]);
        let value = Plain::Tuple(vec![
            Plain::List(self.steps.iter().map(|_| function()).collect()),
            Plain::List(self.steps.iter().map(arguments).collect()),
        ]);
        let bytes = write_plain(&value);
        nnunet_image::fs::write_atomic(path, |out| out.write_all(&bytes))
            .map_err(|source| InferError::io(path, source))
    }

    /// The arguments of the steps, as `postprocessing.json` has them.
    pub(super) fn arguments(&self) -> Vec<Value> {
        self.steps.iter().map(|step| serde_json::json!({ ARGUMENT: argument(step).to_json() })).collect()
    }
}

/// One class stands alone, several in a list; a region is a tuple.
fn argument(step: &KeepLargest) -> Plain {
    let one = |class: &Class| match class {
        Class::Label(label) => Plain::Int(i64::from(*label)),
        Class::Region(labels) => Plain::Tuple(labels.iter().map(|&l| Plain::Int(i64::from(l))).collect()),
    };
    match step {
        KeepLargest::Of(class) => one(class),
        KeepLargest::OfAll(classes) => Plain::List(classes.iter().map(one).collect()),
    }
}

/// Functions by their names, and arguments as JSON.
fn pair(value: &Plain) -> Option<(Vec<Value>, Vec<Value>)> {
    let [functions, arguments] = value.items()? else { return None };
    let name = |function: &Plain| match function {
        Plain::Global(module, name) if module == MODULE => Value::from(name.as_str()),
        Plain::Global(module, name) => Value::from(format!("{module}.{name}")),
        _ => Value::Null,
    };
    let functions = functions.items()?.iter().map(name).collect();
    Some((functions, arguments.items()?.iter().map(Plain::to_json).collect()))
}

/// A label, a list of labels, or a list of labels and regions.
fn step(value: &Value) -> Option<KeepLargest> {
    let label = |value: &Value| value.as_i64().and_then(|label| i16::try_from(label).ok());
    let class = |value: &Value| match value.as_array() {
        Some(labels) => labels.iter().map(label).collect::<Option<_>>().map(Class::Region),
        None => label(value).map(Class::Label),
    };
    match value.as_array() {
        Some(items) => items.iter().map(class).collect::<Option<_>>().map(KeepLargest::OfAll),
        None => class(value).map(KeepLargest::Of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_from_a_pickle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postprocessing.pkl");
        let steps = vec![
            KeepLargest::OfAll([1, 2, 3].map(Class::Label).to_vec()),
            KeepLargest::Of(Class::Label(2)),
            KeepLargest::Of(Class::Region(vec![2, 3])),
        ];
        Postprocessing { steps: steps.clone() }.write_pickle(&path).unwrap();
        // A region that stands alone comes back as its labels: their union is the same.
        let read = Postprocessing::read(&path).unwrap();
        assert_eq!(read.steps[..2], steps[..2]);
        assert_eq!(read.steps[2], KeepLargest::OfAll([2, 3].map(Class::Label).to_vec()));
    }

    #[test]
    fn functions_of_others_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postprocessing.pkl");
        std::fs::write(&path, b"\x80\x02]cposix\nsystem\na]}X\x01\x00\x00\x00a\x4b\x01sa\x86.").unwrap();
        let error = Postprocessing::read(&path).unwrap_err().to_string();
        assert!(error.contains("posix.system") && error.contains("postprocessing.pkl"), "{error}");
        std::fs::write(&path, b"\x80\x02N.").unwrap();
        assert!(Postprocessing::read(&path).unwrap_err().to_string().contains("pair"));
    }
}
