//! Names, colours and codes of labels, beside the files that hold the labels.

mod embedded;
mod mapping;
mod palette;
mod sidecars;
mod table;

pub use embedded::{embed_label_table, embedded_label_table};
pub use mapping::{Code, LabelCodes, LabelMapping};
pub use palette::label_colour;
pub use sidecars::{LabelSidecars, write_label_sidecars};
pub use table::{LabelEntry, LabelTable, LabelTerms, RegionEntry};
