// Instance norm, leaky ReLU and residual addition over channels-last activations (sample, voxel, channel).
//
// The statistics and their gradients are sums over the voxels of each sample and channel: blocks sum chunks of voxels, and a
// second kernel adds the chunks up in double precision, always in the same order.
#include "base.cuh"

// Sums of the deviations from the sample's first voxel, and of their squares: partial[sample][chunk][channel][2].
template <typename T>
DEVICE void norm_partial(const T* y, float* partial, u32 voxels, u32 channels, u32 chunk) {
  __shared__ float shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.y * LANES + lane;
  const T* sample = y + (u64)blockIdx.z * voxels * channels;
  float sum = 0, squares = 0;
  if (c < channels) {
    float pivot = widen(sample[c]);
    u32 first = blockIdx.x * chunk, end = first + chunk < voxels ? first + chunk : voxels;
#pragma unroll 4
    for (u32 v = first + row; v < end; v += ROWS) {
      float d = widen(sample[(u64)v * channels + c]) - pivot;
      sum += d;
      squares += d * d;
    }
  }
  sum = sum_rows(sum, lane, row, shared);
  squares = sum_rows(squares, lane, row, shared);
  if (row == 0 && c < channels) {
    float* out = partial + (((u64)blockIdx.z * gridDim.x + blockIdx.x) * channels + c) * 2;
    out[0] = sum;
    out[1] = squares;
  }
}

// From the sums: mean, 1 / sqrt(variance + eps), and the scale and shift that normalise and apply gamma and beta.
template <typename T>
DEVICE void norm_finish(const float* partial, const T* y, const float* gamma, const float* beta, float* mean,
                        float* inverse, float* scale, float* shift, u32 voxels, u32 channels, u32 chunks, float eps) {
  __shared__ double shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.x * LANES + lane, b = blockIdx.y;
  double sum = 0, squares = 0;
  if (c < channels) {
    for (u32 k = row; k < chunks; k += ROWS) {
      const float* from = partial + (((u64)b * chunks + k) * channels + c) * 2;
      sum += from[0];
      squares += from[1];
    }
  }
  sum = sum_rows(sum, lane, row, shared);
  squares = sum_rows(squares, lane, row, shared);
  if (row != 0 || c >= channels) return;
  double offset = sum / voxels, variance = squares / voxels - offset * offset;
  double centre = (double)widen(y[(u64)b * voxels * channels + c]) + offset;
  double inv = 1.0 / sqrt((variance > 0 ? variance : 0) + (double)eps);
  double factor = (gamma ? (double)gamma[c] : 1.0) * inv;
  u32 at = b * channels + c;
  mean[at] = (float)centre;
  inverse[at] = (float)inv;
  scale[at] = (float)factor;
  shift[at] = (float)((beta ? (double)beta[c] : 0.0) - centre * factor);
}

// z = leaky(y * scale + shift + other); without `other` if it is null.
template <typename T, int N>
DEVICE void norm_apply(const T* y, const float* scale, const float* shift, const T* other, T* z, u32 values,
                       u32 channels, float slope) {
  u32 i = (blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (i >= values) return;
  u64 at = (u64)blockIdx.y * values + i;
  u32 c = blockIdx.y * channels + i % channels;
  Pack<T, N> in = load<T, N>(y + at), add, out;
  if (other) add = load<T, N>(other + at);
#pragma unroll
  for (int k = 0; k < N; k++) {
    float v = widen(in.values[k]) * scale[c + k] + shift[c + k];
    if (other) v += widen(add.values[k]);
    out.values[k] = Narrow<T>::of(leaky(v, slope));
  }
  store<T, N>(z + at, out);
}

// Sums of g and of g times the normalised value, where g is the gradient behind the activation:
// partial[sample][chunk][channel][2]. `z` has the sign of what the activation was applied to.
template <typename T>
DEVICE void norm_backward_partial(const T* dz, const T* z, const T* y, const float* mean, const float* inverse,
                                  float* partial, u32 voxels, u32 channels, u32 chunk, float slope) {
  __shared__ float shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.y * LANES + lane, b = blockIdx.z;
  float sum = 0, product = 0;
  if (c < channels) {
    float m = mean[b * channels + c], inv = inverse[b * channels + c];
    u32 first = blockIdx.x * chunk, end = first + chunk < voxels ? first + chunk : voxels;
#pragma unroll 4
    for (u32 v = first + row; v < end; v += ROWS) {
      u64 at = ((u64)b * voxels + v) * channels + c;
      float g = widen(dz[at]);
      g = widen(z[at]) > 0.0f ? g : g * slope;
      sum += g;
      product += g * ((widen(y[at]) - m) * inv);
    }
  }
  sum = sum_rows(sum, lane, row, shared);
  product = sum_rows(product, lane, row, shared);
  if (row == 0 && c < channels) {
    float* out = partial + (((u64)b * gridDim.x + blockIdx.x) * channels + c) * 2;
    out[0] = sum;
    out[1] = product;
  }
}

// Gradients of gamma and beta, where they are not null, and the means of both sums that the input's gradient needs:
// means[sample][channel][2], zeros where there is no norm.
KERNEL norm_backward_finish(const float* partial, float* dgamma, float* dbeta, float* means, u32 batch, u32 voxels,
                            u32 channels, u32 chunks, u32 normed) {
  __shared__ double shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.x * LANES + lane;
  double gamma_sum = 0, beta_sum = 0;
  for (u32 b = 0; b < batch; b++) {
    double sum = 0, product = 0;
    if (c < channels) {
      for (u32 k = row; k < chunks; k += ROWS) {
        const float* from = partial + (((u64)b * chunks + k) * channels + c) * 2;
        sum += from[0];
        product += from[1];
      }
    }
    sum = sum_rows(sum, lane, row, shared);
    product = sum_rows(product, lane, row, shared);
    if (row == 0 && c < channels) {
      means[(b * channels + c) * 2] = normed ? (float)(sum / voxels) : 0.0f;
      means[(b * channels + c) * 2 + 1] = normed ? (float)(product / voxels) : 0.0f;
      beta_sum += sum;
      gamma_sum += product;
    }
  }
  if (row != 0 || c >= channels) return;
  if (dgamma) dgamma[c] = (float)gamma_sum;
  if (dbeta) dbeta[c] = (float)beta_sum;
}
LAUNCHABLE_TOGETHER(norm_backward_finish)

// dy = gamma / std * (g - mean(g) - normalised * mean(g * normalised)); where `dother` is not null it takes g, added to what
// it holds if `add` is set.
template <typename T, int N>
DEVICE void norm_backward_apply(const T* dz, const T* z, const T* y, const float* gamma, const float* mean,
                                const float* inverse, const float* means, T* dy, T* dother, u32 values, u32 channels,
                                float slope, u32 add) {
  u32 i = (blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (i >= values) return;
  u64 at = (u64)blockIdx.y * values + i;
  u32 c = i % channels, row = blockIdx.y * channels + c;
  Pack<T, N> gradient = load<T, N>(dz + at), sign = load<T, N>(z + at), in = load<T, N>(y + at), out, other;
  if (dother && add) other = load<T, N>(dother + at);
#pragma unroll
  for (int k = 0; k < N; k++) {
    float g = widen(gradient.values[k]);
    g = widen(sign.values[k]) > 0.0f ? g : g * slope;
    float inv = inverse[row + k], normal = (widen(in.values[k]) - mean[row + k]) * inv;
    float factor = (gamma ? gamma[c + k] : 1.0f) * inv;
    out.values[k] = Narrow<T>::of(factor * (g - means[2 * (row + k)] - normal * means[2 * (row + k) + 1]));
    if (dother) other.values[k] = Narrow<T>::of(add ? widen(other.values[k]) + g : g);
  }
  store<T, N>(dy + at, out);
  if (dother) store<T, N>(dother + at, other);
}

// For a layer without norm: mean 0, deviation 1, the bias (zeros where it is null) as shift.
KERNEL norm_none(const float* bias, float* mean, float* inverse, float* scale, float* shift, u32 rows, u32 channels) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows) return;
  mean[i] = 0;
  inverse[i] = 1;
  scale[i] = 1;
  shift[i] = bias ? bias[i % channels] : 0.0f;
}
LAUNCHABLE(norm_none)

#define NORM_SUMS(suffix, T)                                                                                        \
  KERNEL norm_partial_##suffix(const T* y, float* partial, u32 voxels, u32 channels, u32 chunk) {                   \
    norm_partial<T>(y, partial, voxels, channels, chunk);                                                           \
  }                                                                                                                 \
  LAUNCHABLE_TOGETHER(norm_partial_##suffix)                                                                        \
  KERNEL norm_finish_##suffix(const float* partial, const T* y, const float* gamma, const float* beta, float* mean, \
                              float* inverse, float* scale, float* shift, u32 voxels, u32 channels, u32 chunks,     \
                              float eps) {                                                                          \
    norm_finish<T>(partial, y, gamma, beta, mean, inverse, scale, shift, voxels, channels, chunks, eps);            \
  }                                                                                                                 \
  LAUNCHABLE_TOGETHER(norm_finish_##suffix)                                                                         \
  KERNEL norm_backward_partial_##suffix(const T* dz, const T* z, const T* y, const float* mean,                     \
                                        const float* inverse, float* partial, u32 voxels, u32 channels, u32 chunk,  \
                                        float slope) {                                                              \
    norm_backward_partial<T>(dz, z, y, mean, inverse, partial, voxels, channels, chunk, slope);                     \
  }                                                                                                                 \
  LAUNCHABLE_TOGETHER(norm_backward_partial_##suffix)

#define NORM_MAPS(suffix, T, N)                                                                                   \
  KERNEL norm_apply_##suffix(const T* y, const float* scale, const float* shift, const T* other, T* z, u32 values, \
                             u32 channels, float slope) {                                                         \
    norm_apply<T, N>(y, scale, shift, other, z, values, channels, slope);                                         \
  }                                                                                                               \
  LAUNCHABLE(norm_apply_##suffix)                                                                                 \
  KERNEL norm_backward_apply_##suffix(const T* dz, const T* z, const T* y, const float* gamma, const float* mean, \
                                      const float* inverse, const float* means, T* dy, T* dother, u32 values,     \
                                      u32 channels, float slope, u32 add) {                                       \
    norm_backward_apply<T, N>(dz, z, y, gamma, mean, inverse, means, dy, dother, values, channels, slope, add);   \
  }                                                                                                               \
  LAUNCHABLE(norm_backward_apply_##suffix)

NORM_SUMS(f32, float)
NORM_SUMS(bf16, bf16)
NORM_MAPS(f32, float, 1)
NORM_MAPS(f32x4, float, 4)
NORM_MAPS(bf16, bf16, 1)
NORM_MAPS(bf16x4, bf16, 4)
