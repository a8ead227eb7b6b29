//! The training engine of nnU-Net: sampling, losses, optimiser, checkpoints.
