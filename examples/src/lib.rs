//! examples of the nnunet workspace.
