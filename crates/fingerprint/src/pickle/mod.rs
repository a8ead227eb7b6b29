//! Pickles, read as data and written: nothing in them is imported or called.
//!
//! ```
//! use nnunet_fingerprint::pickle::{Plain, read_plain, write_plain};
//!
//! let value = Plain::dict([("spacing", Plain::List(vec![Plain::Float(0.5), Plain::Int(2)]))]);
//! let bytes = write_plain(&value);
//! assert_eq!(read_plain(&bytes).unwrap(), value);
//! ```

mod bytes;
mod machine;
mod plain;
mod value;
mod write;

pub use machine::read;

pub use value::{Id, Pickle, Value};

pub use plain::{Plain, plain, read_plain};
pub use write::write_plain;
