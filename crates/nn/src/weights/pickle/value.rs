//! What a pickle holds.

/// Number of a value in its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) struct Id(pub(super) u32);

/// One value; others are referred to by number, so that shared and nested ones cost nothing.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::weights) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// `module name`.
    Class(Box<str>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Data outside the pickle.
    Persistent(Id),
    /// A call that is not made.
    Call {
        callable: Id,
        arguments: Id,
        /// What the object was filled with after the call.
        state: Option<Id>,
    },
    /// Sets, numbers beyond 64 bits.
    Opaque,
}

/// All values of a pickle.
#[derive(Debug)]
pub(in crate::weights) struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickle {
    pub(in crate::weights) fn root(&self) -> Id {
        self.root
    }

    pub(in crate::weights) fn get(&self, id: Id) -> &Value {
        self.values.get(id.0 as usize).unwrap_or(&Value::Opaque)
    }

    /// The value under a text key of a dictionary.
    pub(in crate::weights) fn entry(&self, dictionary: Id, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.get(dictionary) else { return None };
        // The last one counts, as in Python.
        entries.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }

    pub(in crate::weights) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer that is not negative.
    pub(in crate::weights) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(in crate::weights) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// A tuple or list of integers that are not negative.
    pub(in crate::weights) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.items(id)?.iter().map(|&item| self.size(item)).collect()
    }

    /// Name of the class and arguments of a call.
    pub(in crate::weights) fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Value::Call { callable, arguments, .. } = self.get(id) else { return None };
        let Value::Class(name) = self.get(*callable) else { return None };
        Some((name, self.items(*arguments)?))
    }
}
