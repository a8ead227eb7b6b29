//! Trained models, ready to segment images.

mod files;
mod model_folder;
mod network;
mod output;
mod single;

pub use files::select_part;
pub use single::Predictor;
