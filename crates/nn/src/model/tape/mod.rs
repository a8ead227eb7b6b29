//! A whole network as one differentiable operation: forward, and the gradients of all weights.
//!
//! Between forward and backward one activation per convolution is kept, its raw output; what the norm and the activation make
//! of it is computed where it is read. Gradients are added up in place, and activations go as soon as theirs are known.
//!
//! Where memory is short, only the activations that end a stage or a residual block are kept, and the others are made again
//! from them on the way back: the same kernels on the same values, so the gradients are the same to the last bit.

mod backward;
mod forward;
mod graph;
mod op;

pub(super) use graph::Graph;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(super) use graph::{Node, UnitNode, Weight};
pub(super) use op::forward_deep;
