//! 3-D convolution and the U-Nets of nnU-Net on candle, fast on the CPU.
