//! Values of a pickle as a tree.

use super::machine;
use super::value::{Id, Pickle, Value};

/// Most values of a tree; one that is shared counts each time it occurs.
const MOST: usize = 1 << 22;
/// Deepest nesting.
const DEEPEST: usize = 200;

/// A value of Python. Calls stand for their results and are never made; numbers and arrays of NumPy are read as what they
/// hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Plain {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Plain>),
    /// A tuple.
    Tuple(Vec<Plain>),
    /// A dictionary, in its order.
    Dict(Vec<(Plain, Plain)>),
    /// A class or function, by module and name.
    Global(String, String),
    /// What calling the function of this module and name with these arguments would give.
    Call(String, String, Vec<Plain>),
    /// Data outside the pickle.
    Persistent(Box<Plain>),
    /// Something without a form here: sets, integers of more than 64 bits, other objects.
    Other,
}

impl Plain {
    /// A dictionary with texts as keys.
    pub fn dict<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (Self::text(key), value)).collect())
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The value under a text key of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(entries) = self else { return None };
        entries
            .iter()
            .rev()
            .find(|(k, _)| matches!(k, Self::Text(text) if text == key))
            .map(|(_, value)| value)
    }

    /// The items of a list or tuple.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// An integer.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A float, or an integer as one.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// As JSON: tuples become lists; what is not finite, bytes and objects become null; other keys than texts are printed.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Float(value) => Json::from(*value),
            Self::Text(text) => Json::from(text.as_str()),
            Self::List(items) | Self::Tuple(items) => items.iter().map(Self::to_json).collect(),
            Self::Dict(entries) => {
                let key = |key: &Self| match key {
                    Self::Text(text) => text.clone(),
                    Self::Int(number) => number.to_string(),
                    other => format!("{other:?}"),
                };
                Json::Object(entries.iter().map(|(k, value)| (key(k), value.to_json())).collect())
            }
            _ => Json::Null,
        }
    }

    /// From JSON.
    pub fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
            }
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                Self::Dict(map.iter().map(|(k, v)| (Self::text(k.as_str()), Self::from_json(v))).collect())
            }
        }
    }
}

/// Reads a pickle as a tree.
///
/// # Errors
/// It is cut off, not of protocols 2 to 5, nested too deeply, or holds too much.
pub fn read_plain(bytes: &[u8]) -> Result<Plain, String> {
    let pickle = machine::read(bytes)?;
    plain(&pickle, pickle.root())
}

/// The tree below a value.
///
/// # Errors
/// It is nested too deeply or holds too much.
pub fn plain(pickle: &Pickle, id: Id) -> Result<Plain, String> {
    Tree { pickle, left: MOST }.at(id, 0)
}

struct Tree<'a> {
    pickle: &'a Pickle,
    left: usize,
}

impl Tree<'_> {
    fn at(&mut self, id: Id, depth: usize) -> Result<Plain, String> {
        if depth > DEEPEST {
            return Err(format!("nested more than {DEEPEST} deep"));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| format!("more than {MOST} values"))?;
        let pickle = self.pickle;
        Ok(match pickle.get(id) {
            Value::None => Plain::None,
            Value::Bool(value) => Plain::Bool(*value),
            Value::Int(value) => Plain::Int(*value),
            Value::Float(value) => Plain::Float(*value),
            Value::Text(text) => Plain::Text(text.to_string()),
            Value::Bytes(bytes) => Plain::Bytes(bytes.to_vec()),
            Value::List(items) => Plain::List(self.all(items, depth)?),
            Value::Tuple(items) => Plain::Tuple(self.all(items, depth)?),
            Value::Dict(entries) => Plain::Dict(
                entries
                    .iter()
                    .map(|(key, value)| Ok((self.at(*key, depth + 1)?, self.at(*value, depth + 1)?)))
                    .collect::<Result<_, String>>()?,
            ),
            Value::Class(name) => {
                let (module, name) = name.split_once(' ').unwrap_or_default();
                Plain::Global(module.to_owned(), name.to_owned())
            }
            Value::Persistent(inner) => Plain::Persistent(Box::new(self.at(*inner, depth + 1)?)),
            Value::Call { arguments, state, .. } => {
                let Some((name, _)) = pickle.call(id) else { return Ok(Plain::Other) };
                let arguments = match self.at(*arguments, depth + 1)? {
                    Plain::Tuple(items) => items,
                    _ => return Ok(Plain::Other),
                };
                let state = state.map(|state| self.at(state, depth + 1)).transpose()?;
                known(name, arguments, state)
            }
            Value::Opaque => Plain::Other,
        })
    }

    fn all(&mut self, items: &[Id], depth: usize) -> Result<Vec<Plain>, String> {
        items.iter().map(|&item| self.at(item, depth + 1)).collect()
    }
}

/// The results of calls whose meaning is known; others stay calls.
fn known(name: &str, arguments: Vec<Plain>, state: Option<Plain>) -> Plain {
    match (name, arguments.as_slice()) {
        ("_codecs encode", [Plain::Text(text), ..]) => {
            Plain::Bytes(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect())
        }
        (
            "numpy.core.multiarray scalar" | "numpy._core.multiarray scalar",
            [Plain::Call(_, _, dtype), Plain::Bytes(bytes)],
        ) => number(dtype, bytes).unwrap_or(Plain::Other),
        ("numpy.core.multiarray _reconstruct" | "numpy._core.multiarray _reconstruct", _) => {
            state.and_then(|state| array(&state)).unwrap_or(Plain::Other)
        }
        _ => {
            let (module, name) = name.split_once(' ').unwrap_or_default();
            Plain::Call(module.to_owned(), name.to_owned(), arguments)
        }
    }
}

/// One number of a type such as `f8`.
fn number(dtype: &[Plain], bytes: &[u8]) -> Option<Plain> {
    let Some(Plain::Text(kind)) = dtype.first() else { return None };
    let array = |len: usize| {
        let mut all = [0; 8];
        all[..len].copy_from_slice(bytes.get(..len).filter(|_| bytes.len() == len)?);
        Some(all)
    };
    let unsigned = |len: usize| array(len).map(u64::from_le_bytes);
    Some(match kind.as_str() {
        "f8" => Plain::Float(f64::from_bits(unsigned(8)?)),
        "f4" => Plain::Float(f64::from(f32::from_bits(unsigned(4)? as u32))),
        "i8" => Plain::Int(unsigned(8)? as i64),
        "i4" => Plain::Int(i64::from(unsigned(4)? as i32)),
        "i2" => Plain::Int(i64::from(unsigned(2)? as i16)),
        "i1" => Plain::Int(i64::from(unsigned(1)? as i8)),
        "u8" => Plain::Int(i64::try_from(unsigned(8)?).ok()?),
        "u4" => Plain::Int(unsigned(4)? as i64),
        "u2" => Plain::Int(unsigned(2)? as i64),
        "u1" => Plain::Int(unsigned(1)? as i64),
        "b1" => Plain::Bool(unsigned(1)? != 0),
        _ => return None,
    })
}

/// An array as nested lists, from `(version, shape, type, Fortran order, bytes)`.
fn array(state: &Plain) -> Option<Plain> {
    let [_, shape, Plain::Call(_, _, dtype), Plain::Bool(false), Plain::Bytes(bytes)] = state.items()? else {
        return None;
    };
    let shape: Vec<usize> =
        shape.items()?.iter().map(|n| usize::try_from(n.int()?).ok()).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    if count == 0 || !bytes.len().is_multiple_of(count) {
        return (count == 0).then(|| Plain::List(Vec::new()));
    }
    let mut items =
        bytes.chunks_exact(bytes.len() / count).map(|one| number(dtype, one)).collect::<Option<Vec<_>>>()?;
    for &size in shape.iter().rev() {
        items = items.chunks_exact(size).map(|row| Plain::List(row.to_vec())).collect();
    }
    items.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_numpy_are_read_in_both_spellings() {
        // pickle.dumps([np.float64(0.5), np.int64(-3)], 2), shortened: dtype without its state.
        let protocol_2 = b"\x80\x02]q\x00(cnumpy._core.multiarray\nscalar\nq\x01cnumpy\ndtype\nq\x02X\x02\x00\x00\x00f8q\x03\
            \x89\x88\x87q\x04Rq\x05c_codecs\nencode\nq\x06X\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc3\xa0?q\x07X\x06\x00\x00\
            \x00latin1q\x08\x86q\x09Rq\x0a\x86q\x0bRq\x0ce.";
        assert_eq!(read_plain(protocol_2).unwrap(), Plain::List(vec![Plain::Float(0.5)]));
        let protocol_4 = b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02i8\x89\
            \x88\x87RC\x08\xfd\xff\xff\xff\xff\xff\xff\xff\x86R.";
        assert_eq!(read_plain(protocol_4).unwrap(), Plain::Int(-3));
    }

    #[test]
    fn shared_values_cannot_blow_up() {
        // Each list holds the one before it twice.
        let mut bytes = b"\x80\x02]q\x00".to_vec();
        for i in 0..60u8 {
            bytes.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
        }
        bytes.push(b'.');
        assert!(read_plain(&bytes).unwrap_err().contains("more than"));
        let mut deep = b"\x80\x02N".to_vec();
        deep.resize(10_000, 0x85);
        deep.push(b'.');
        assert!(read_plain(&deep).unwrap_err().contains("deep"));
    }

    #[test]
    fn calls_stay_calls() {
        let read = read_plain(b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00false\x85R.").unwrap();
        assert_eq!(read, Plain::Call("posix".into(), "system".into(), vec![Plain::text("false")]));
        assert!(read.to_json().is_null());
    }
}
