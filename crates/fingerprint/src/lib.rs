//! The raw data set of nnU-Net (dataset.json, cases, integrity) and its fingerprint.
