// Rows of the matrix that turns a convolution into a product: for every output voxel the values that its taps read.
#include "base.cuh"

// A convolution along z, y, x. `rows` is the grid that has a row each, `source` the one that is read.
struct Columns {
  int rows[3], source[3], kernel[3], stride[3], padding[3];
  int channels;
  // 0: rows are outputs and read the inputs of the convolution. 1: rows are inputs and read the gradients of the outputs
  // that they have a part in.
  int turned;
};

// Position along an axis that row `m` reads through tap `k`; negative if there is none.
DEVICE int columns_source(const Columns& p, int axis, int m, int k) {
  int at;
  if (p.turned) {
    int from = m + p.padding[axis] - k;
    if (from < 0 || from % p.stride[axis] != 0) return -1;
    at = from / p.stride[axis];
  } else {
    at = m * p.stride[axis] + k - p.padding[axis];
  }
  return at < p.source[axis] ? at : -1;
}

// columns[row][tap][channel] for `count` rows from row `first` (counted over all samples) on.
template <typename T, int N>
DEVICE void columns(const T* x, T* out, Columns p, u64 first, u32 count) {
  u32 taps = p.kernel[0] * p.kernel[1] * p.kernel[2], packs = p.channels / N;
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (u64)count * taps * packs) return;
  u32 c = (u32)(i % packs) * N, tap = (u32)(i / packs % taps);
  u64 row = first + i / packs / taps;
  u32 voxels = p.rows[0] * p.rows[1] * p.rows[2], sample = (u32)(row / voxels), v = (u32)(row % voxels);
  int z = columns_source(p, 0, v / p.rows[2] / p.rows[1], tap / p.kernel[2] / p.kernel[1]);
  int y = columns_source(p, 1, v / p.rows[2] % p.rows[1], tap / p.kernel[2] % p.kernel[1]);
  int xx = columns_source(p, 2, v % p.rows[2], tap % p.kernel[2]);
  Pack<T, N> value;
  if (z >= 0 && y >= 0 && xx >= 0) {
    u64 from = (((u64)sample * p.source[0] + z) * p.source[1] + y) * p.source[2] + xx;
    value = load<T, N>(x + from * p.channels + c);
  } else {
#pragma unroll
    for (int k = 0; k < N; k++) value.values[k] = Narrow<T>::of(0.0f);
  }
  store<T, N>(out + i * N, value);
}

#define COLUMNS(suffix, T, N)                                                            \
  KERNEL columns_##suffix(const T* x, T* out, Columns p, u64 first, u32 count) {         \
    columns<T, N>(x, out, p, first, count);                                              \
  }                                                                                      \
  LAUNCHABLE(columns_##suffix)

COLUMNS(f32, float, 1)
COLUMNS(f32x4, float, 4)
COLUMNS(bf16, bf16, 1)
COLUMNS(bf16x4, bf16, 4)
