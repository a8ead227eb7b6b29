//! What the examples and the end-to-end tests share: a labelled 3-D data set that the program draws itself, and the service
//! with its pages.
//!
//! [`drawn::write_dataset`] writes it in nnU-Net's raw layout, so that everything that follows runs on files just as
//! it does on a real data set.

pub mod drawn;
pub mod pages;
pub mod service;

/// The code of the page on embedding.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Embedding;
