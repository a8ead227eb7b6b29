//! From logits on the network's grid to labels on the image's.

mod decision;
mod place;
mod rows;
mod taps;
