//! Pickles read as data: containers, numbers and texts are kept, classes and calls become names. Nothing is executed.

mod bytes;
mod machine;
mod value;

pub(super) use machine::read;
pub(super) use value::{Id, Pickle, Value};
