// Changes of precision and of the order of axes.
#include "base.cuh"

// Rounds f32 to T.
template <typename T>
DEVICE void narrow_values(const float* from, T* to, u64 count) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) to[i] = Narrow<T>::of(from[i]);
}

// Widens T to f32.
template <typename T>
DEVICE void widen_values(const T* from, float* to, u64 count) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) to[i] = widen(from[i]);
}

// (sample, channel, voxel) in f32 to (sample, voxel, channel).
template <typename T>
DEVICE void channels_last(const float* from, T* to, u32 voxels, u32 channels) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x, values = voxels * channels;
  if (i >= values) return;
  u64 sample = (u64)blockIdx.y * values;
  to[sample + i] = Narrow<T>::of(from[sample + (u64)(i % channels) * voxels + i / channels]);
}

// (sample, voxel, channel) to (sample, channel, voxel) in f32.
template <typename T>
DEVICE void channels_first(const T* from, float* to, u32 voxels, u32 channels) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x, values = voxels * channels;
  if (i >= values) return;
  u64 sample = (u64)blockIdx.y * values;
  to[sample + i] = widen(from[sample + (u64)(i % voxels) * channels + i / voxels]);
}

// Weights (a, b, tap) in f32 to (a, tap, b), or to (b, tap, a) if `turned`.
template <typename T>
DEVICE void pack_weights(const float* from, T* to, u32 a, u32 b, u32 taps, u32 turned) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a * b * taps) return;
  u32 inner = turned ? a : b, last = i % inner, tap = i / inner % taps, first = i / inner / taps;
  u32 ia = turned ? last : first, ib = turned ? first : last;
  to[i] = Narrow<T>::of(from[((u64)ia * b + ib) * taps + tap]);
}

// Gradients of weights (a, tap, b) to (a, b, tap) in f32.
template <typename T>
DEVICE void unpack_weights(const T* from, float* to, u32 a, u32 b, u32 taps) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a * b * taps) return;
  u32 tap = i % taps, ib = i / taps % b, ia = i / taps / b;
  to[i] = widen(from[((u64)ia * taps + tap) * b + ib]);
}

// Copies `channels` values of every row from a pitch to another; adds them if `add`.
template <typename T>
DEVICE void copy_channels(const T* from, T* to, u32 rows, u32 channels, u32 from_pitch, u32 to_pitch, u32 add) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (u64)rows * channels) return;
  u64 row = i / channels, c = i % channels;
  T value = from[row * from_pitch + c];
  T* at = to + row * to_pitch + c;
  *at = add ? Narrow<T>::of(widen(*at) + widen(value)) : value;
}

// Means over boxes of (sz, sy, sx) voxels; voxels beyond the last whole box are left out.
struct Pool {
  u32 in[3], out[3], stride[3], channels;
};

template <typename T>
DEVICE void pool(const T* x, T* y, Pool p) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.out[0] * p.out[1] * p.out[2] * p.channels) return;
  u32 c = i % p.channels, v = i / p.channels;
  u32 ox = v % p.out[2], oy = v / p.out[2] % p.out[1], oz = v / p.out[2] / p.out[1];
  const T* sample = x + (u64)blockIdx.y * p.in[0] * p.in[1] * p.in[2] * p.channels;
  float sum = 0;
  for (u32 z = oz * p.stride[0]; z < (oz + 1) * p.stride[0]; z++)
    for (u32 yy = oy * p.stride[1]; yy < (oy + 1) * p.stride[1]; yy++)
      for (u32 xx = ox * p.stride[2]; xx < (ox + 1) * p.stride[2]; xx++)
        sum += widen(sample[(((u64)z * p.in[1] + yy) * p.in[2] + xx) * p.channels + c]);
  float count = (float)(p.stride[0] * p.stride[1] * p.stride[2]);
  y[(u64)blockIdx.y * p.out[0] * p.out[1] * p.out[2] * p.channels + i] = Narrow<T>::of(sum / count);
}

// Shares the gradient of a mean out to its voxels; adds it to what is there if `add`.
template <typename T>
DEVICE void pool_backward(const T* dy, T* dx, Pool p, u32 add) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.in[0] * p.in[1] * p.in[2] * p.channels) return;
  u32 c = i % p.channels, v = i / p.channels;
  u32 x = v % p.in[2] / p.stride[2], y = v / p.in[2] % p.in[1] / p.stride[1], z = v / p.in[2] / p.in[1] / p.stride[0];
  float value = 0;
  if (x < p.out[2] && y < p.out[1] && z < p.out[0]) {
    u64 sample = (u64)blockIdx.y * p.out[0] * p.out[1] * p.out[2];
    u64 from = (sample + ((u64)z * p.out[1] + y) * p.out[2] + x) * p.channels + c;
    value = widen(dy[from]) / (float)(p.stride[0] * p.stride[1] * p.stride[2]);
  }
  T* at = dx + (u64)blockIdx.y * p.in[0] * p.in[1] * p.in[2] * p.channels + i;
  *at = Narrow<T>::of(add ? widen(*at) + value : value);
}

#define LAYOUT(suffix, T)                                                                                         \
  KERNEL narrow_##suffix(const float* from, T* to, u64 count) { narrow_values<T>(from, to, count); }              \
  LAUNCHABLE(narrow_##suffix)                                                                                     \
  KERNEL widen_##suffix(const T* from, float* to, u64 count) { widen_values<T>(from, to, count); }                \
  LAUNCHABLE(widen_##suffix)                                                                                      \
  KERNEL channels_last_##suffix(const float* from, T* to, u32 voxels, u32 channels) {                             \
    channels_last<T>(from, to, voxels, channels);                                                                 \
  }                                                                                                               \
  LAUNCHABLE(channels_last_##suffix)                                                                              \
  KERNEL channels_first_##suffix(const T* from, float* to, u32 voxels, u32 channels) {                            \
    channels_first<T>(from, to, voxels, channels);                                                                \
  }                                                                                                               \
  LAUNCHABLE(channels_first_##suffix)                                                                             \
  KERNEL pack_weights_##suffix(const float* from, T* to, u32 a, u32 b, u32 taps, u32 turned) {                    \
    pack_weights<T>(from, to, a, b, taps, turned);                                                                \
  }                                                                                                               \
  LAUNCHABLE(pack_weights_##suffix)                                                                               \
  KERNEL unpack_weights_##suffix(const T* from, float* to, u32 a, u32 b, u32 taps) {                              \
    unpack_weights<T>(from, to, a, b, taps);                                                                      \
  }                                                                                                               \
  LAUNCHABLE(unpack_weights_##suffix)                                                                             \
  KERNEL copy_channels_##suffix(const T* from, T* to, u32 rows, u32 channels, u32 from_pitch, u32 to_pitch,       \
                                u32 add) {                                                                        \
    copy_channels<T>(from, to, rows, channels, from_pitch, to_pitch, add);                                        \
  }                                                                                                               \
  LAUNCHABLE(copy_channels_##suffix)                                                                              \
  KERNEL pool_##suffix(const T* x, T* y, Pool p) { pool<T>(x, y, p); }                                            \
  LAUNCHABLE(pool_##suffix)                                                                                       \
  KERNEL pool_backward_##suffix(const T* dy, T* dx, Pool p, u32 add) { pool_backward<T>(dy, dx, p, add); }        \
  LAUNCHABLE(pool_backward_##suffix)

LAYOUT(f32, float)
LAYOUT(bf16, bf16)
