//! nnU-Net in Rust: fingerprint, plan, preprocess, train, predict and evaluate biomedical segmentation.
