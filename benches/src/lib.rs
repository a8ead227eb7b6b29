//! benches of the nnunet workspace.
