//! The augmentation pipeline of nnU-Net over ndarray samples.
