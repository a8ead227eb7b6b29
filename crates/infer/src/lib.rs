//! Sliding-window prediction, export to the original geometry and evaluation of nnU-Net models.
