//! Medical images with geometry: readers, writers, resampling and cropping as nnU-Net does them.
