//! The heuristics of nnU-Net: from a data set fingerprint to plans.
