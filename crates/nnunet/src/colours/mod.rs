//! Names, colours and codes of labels, beside the files that hold the labels.

mod palette;
mod sidecars;
mod table;

pub use palette::label_colour;
pub use sidecars::{LabelSidecars, write_label_sidecars};
pub use table::{Code, LabelCodes, LabelEntry, LabelTable, RegionEntry};
