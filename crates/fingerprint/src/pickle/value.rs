//! What a pickle holds.

/// Number of a value in its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub(super) u32);

/// One value; others are referred to by number, so that shared and nested ones cost nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Text(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// `module name`.
    Class(Box<str>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A dictionary, in its order.
    Dict(Vec<(Id, Id)>),
    /// Data outside the pickle.
    Persistent(Id),
    /// A call that is not made.
    Call {
        /// What is called.
        callable: Id,
        /// A tuple.
        arguments: Id,
        /// What the object was filled with after the call.
        state: Option<Id>,
    },
    /// Sets, numbers beyond 64 bits.
    Opaque,
}

/// All values of a pickle.
#[derive(Debug)]
pub struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickle {
    /// The value that the pickle is.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value of this number.
    pub fn get(&self, id: Id) -> &Value {
        self.values.get(id.0 as usize).unwrap_or(&Value::Opaque)
    }

    /// The value under a text key of a dictionary.
    pub fn entry(&self, dictionary: Id, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.get(dictionary) else { return None };
        // The last one counts, as in Python.
        entries.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// A text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer that is not negative.
    pub fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// A tuple or list of integers that are not negative.
    pub fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.items(id)?.iter().map(|&item| self.size(item)).collect()
    }

    /// Name of the class and arguments of a call.
    pub fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Value::Call { callable, arguments, .. } = self.get(id) else { return None };
        let Value::Class(name) = self.get(*callable) else { return None };
        Some((name, self.items(*arguments)?))
    }
}
