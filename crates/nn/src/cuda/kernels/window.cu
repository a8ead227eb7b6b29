// The sliding window: tiles out of an image, logits into their weighted sums, labels out of their means.
#include "base.cuh"

struct Window {
  u32 image[3], patch[3];
  // First voxel of the tile, which may be outside.
  int origin[3];
  // Which axes are turned around.
  u32 flip[3];
  u32 channels;
};

// Voxel of the image that voxel `v` of the turned tile is; false outside. `local` is its number in the tile as it lies.
DEVICE bool window_voxel(const Window& p, u32 v, u64* at, u32* local) {
  u32 place[3] = {v / p.patch[2] / p.patch[1], v / p.patch[2] % p.patch[1], v % p.patch[2]};
  bool inside = true;
  *at = 0;
  *local = 0;
  for (int a = 0; a < 3; a++) {
    u32 straight = p.flip[a] ? p.patch[a] - 1 - place[a] : place[a];
    int position = p.origin[a] + (int)straight;
    inside = inside && position >= 0 && position < (int)p.image[a];
    *at = *at * p.image[a] + (u64)(position >= 0 ? position : 0);
    *local = *local * p.patch[a] + straight;
  }
  return inside;
}

// A turned tile (voxel, channel) of an image (channel, voxel); zeros outside.
template <typename T>
DEVICE void window_cut(const float* image, T* tile, Window p) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.patch[0] * p.patch[1] * p.patch[2] * p.channels) return;
  u64 at;
  u32 local;
  bool inside = window_voxel(p, i / p.channels, &at, &local);
  u64 volume = (u64)p.image[0] * p.image[1] * p.image[2];
  tile[i] = Narrow<T>::of(inside ? image[(i % p.channels) * volume + at] : 0.0f);
}

// Adds the logits of a turned tile, times their weights and `factor`, to sums (voxel, channel); weights of all one where
// `importance` is null. Where `weights` is not null, adds the weights up there.
KERNEL window_add(const float* logits, const float* importance, float* sums, float* weights, Window p, float factor) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.patch[0] * p.patch[1] * p.patch[2] * p.channels) return;
  u64 at;
  u32 local;
  if (!window_voxel(p, i / p.channels, &at, &local)) return;
  float weight = importance ? importance[local] : 1.0f;
  sums[at * p.channels + i % p.channels] += logits[i] * factor * weight;
  if (weights && i % p.channels == 0) weights[at] += weight;
}
LAUNCHABLE(window_add)

// Sums become means; `bad` takes the lowest voxel whose mean is not finite.
KERNEL window_mean(float* sums, const float* weights, u32 voxels, u32 channels, u32* bad) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x;
  if (v >= voxels) return;
  bool finite = true;
  for (u32 c = 0; c < channels; c++) {
    float mean = sums[(u64)v * channels + c] / weights[v];
    finite = finite && fabsf(mean) < 3.4e38f;
    sums[(u64)v * channels + c] = mean;
  }
#ifdef __CUDACC__
  if (!finite) atomicMin(bad, v);
#else
  if (!finite && v < *bad) *bad = v;
#endif
}
LAUNCHABLE(window_mean)

// The first of the largest channels.
KERNEL window_labels(const float* means, short* labels, u32 voxels, u32 channels) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x;
  if (v >= voxels) return;
  const float* z = means + (u64)v * channels;
  u32 best = 0;
  for (u32 c = 1; c < channels; c++) best = z[c] > z[best] ? c : best;
  labels[v] = (short)best;
}
LAUNCHABLE(window_labels)

#define WINDOW_CUT(suffix, T)                                                                            \
  KERNEL window_cut_##suffix(const float* image, T* tile, Window p) { window_cut<T>(image, tile, p); }   \
  LAUNCHABLE(window_cut_##suffix)

WINDOW_CUT(f32, float)
WINDOW_CUT(bf16, bf16)
