// Sums over voxels for every channel: the gradients of biases.
#include "base.cuh"

// partial[chunk][channel] over rows of `pitch` values.
template <typename T>
DEVICE void channel_partial(const T* x, float* partial, u32 rows, u32 pitch, u32 channels, u32 chunk) {
  __shared__ float shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.y * LANES + lane;
  float sum = 0;
  if (c < channels) {
    u32 first = blockIdx.x * chunk, end = first + chunk < rows ? first + chunk : rows;
    for (u32 v = first + row; v < end; v += ROWS) sum += widen(x[(u64)v * pitch + c]);
  }
  sum = sum_rows(sum, lane, row, shared);
  if (row == 0 && c < channels) partial[(u64)blockIdx.x * channels + c] = sum;
}

KERNEL channel_finish(const float* partial, float* out, u32 channels, u32 chunks) {
  __shared__ double shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.x * LANES + lane;
  double sum = 0;
  if (c < channels) {
    for (u32 k = row; k < chunks; k += ROWS) sum += partial[(u64)k * channels + c];
  }
  sum = sum_rows(sum, lane, row, shared);
  if (row == 0 && c < channels) out[c] = (float)sum;
}
LAUNCHABLE_TOGETHER(channel_finish)

#define CHANNEL_PARTIAL(suffix, T)                                                                                    \
  KERNEL channel_partial_##suffix(const T* x, float* partial, u32 rows, u32 pitch, u32 channels, u32 chunk) {         \
    channel_partial<T>(x, partial, rows, pitch, channels, chunk);                                                     \
  }                                                                                                                   \
  LAUNCHABLE_TOGETHER(channel_partial_##suffix)

CHANNEL_PARTIAL(f32, float)
CHANNEL_PARTIAL(bf16, bf16)
