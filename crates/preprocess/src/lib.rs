//! nnU-Net preprocessing: crop, normalise, resample, and the store of preprocessed cases.
