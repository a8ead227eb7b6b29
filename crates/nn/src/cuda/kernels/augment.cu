// Augmentation of patches (channel, z, y, x): affine warps, and what changes intensities. Random numbers are functions of a
// key and the voxel, so that they do not depend on how threads are scheduled.
#include "base.cuh"

struct Warp {
  u32 from[3], to[3];
  // Coordinate = matrix * (voxel - middle of the target) + centre.
  float matrix[9];
  float centre[3];
};

DEVICE void warp_coordinates(const Warp& p, u32 v, float* at) {
  u32 place[3] = {v / p.to[2] / p.to[1], v / p.to[2] % p.to[1], v % p.to[2]};
  float offset[3];
  for (int a = 0; a < 3; a++) offset[a] = (float)place[a] - 0.5f * ((float)p.to[a] - 1.0f);
  for (int a = 0; a < 3; a++) {
    const float* m = p.matrix + 3 * a;
    at[a] = m[0] * offset[0] + m[1] * offset[1] + m[2] * offset[2] + p.centre[a];
  }
}

// Trilinear; zeros outside. blockIdx.y is the channel.
KERNEL warp_image(const float* from, float* to, Warp p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x, voxels = p.to[0] * p.to[1] * p.to[2];
  if (v >= voxels) return;
  float at[3], part[3], sum = 0;
  int low[3];
  warp_coordinates(p, v, at);
  for (int a = 0; a < 3; a++) {
    float floor_ = floorf(at[a]);
    low[a] = (int)floor_;
    part[a] = at[a] - floor_;
  }
  const float* channel = from + (u64)blockIdx.y * p.from[0] * p.from[1] * p.from[2];
  for (int corner = 0; corner < 8; corner++) {
    int step[3] = {corner >> 2 & 1, corner >> 1 & 1, corner & 1};
    float weight = 1;
    u64 index = 0;
    bool inside = true;
    for (int a = 0; a < 3; a++) {
      int position = low[a] + step[a];
      inside = inside && position >= 0 && position < (int)p.from[a];
      index = index * p.from[a] + (u64)(position >= 0 ? position : 0);
      weight *= step[a] ? part[a] : 1.0f - part[a];
    }
    if (inside) sum += weight * channel[index];
  }
  to[(u64)blockIdx.y * voxels + v] = sum;
}
LAUNCHABLE(warp_image)

// The nearest label, halves to even; -1 outside. blockIdx.y is the channel.
KERNEL warp_labels(const short* from, short* to, Warp p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x, voxels = p.to[0] * p.to[1] * p.to[2];
  if (v >= voxels) return;
  float at[3];
  warp_coordinates(p, v, at);
  u64 index = 0;
  bool inside = true;
  for (int a = 0; a < 3; a++) {
    int position = (int)rintf(at[a]);
    inside = inside && position >= 0 && position < (int)p.from[a];
    index = index * p.from[a] + (u64)(position >= 0 ? position : 0);
  }
  const short* channel = from + (u64)blockIdx.y * p.from[0] * p.from[1] * p.from[2];
  to[(u64)blockIdx.y * voxels + v] = inside ? channel[index] : (short)-1;
}
LAUNCHABLE(warp_labels)

// One axis of a separable blur: weights from the middle outwards, borders reflected about the outermost voxels.
struct BlurAxis {
  u32 shape[3], axis, radius;
  float weights[16];
};

DEVICE int reflected(int index, int length) {
  int period = 2 * (length - 1);
  if (period == 0) return 0;
  int folded = index % period;
  folded = folded < 0 ? folded + period : folded;
  return folded < period - folded ? folded : period - folded;
}

KERNEL blur_axis(const float* from, float* to, BlurAxis p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x;
  if (v >= p.shape[0] * p.shape[1] * p.shape[2]) return;
  int step = 1, length = (int)p.shape[p.axis];
  for (u32 a = p.axis + 1; a < 3; a++) step *= (int)p.shape[a];
  int place = (int)(v / (u32)step) % length;
  const float* line = from + v - (u64)place * step;
  float sum = p.weights[0] * from[v];
  for (int k = 1; k <= (int)p.radius; k++)
    sum += p.weights[k] * (line[reflected(place - k, length) * step] + line[reflected(place + k, length) * step]);
  to[v] = sum;
}
LAUNCHABLE(blur_axis)

// Two voxels of an axis and the weight of the second.
struct Tap {
  u32 low, high;
  float weight;
};

struct Shape {
  u32 shape[3];
};

DEVICE float mix(float low, float high, float weight) { return low + (high - low) * weight; }

// Low resolution: `taps` of all voxels along z, then y, then x.
KERNEL low_resolution(const float* from, float* to, const Tap* taps, Shape p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x, height = p.shape[1], width = p.shape[2];
  if (v >= p.shape[0] * height * width) return;
  Tap z = taps[v / width / height], y = taps[p.shape[0] + v / width % height];
  Tap x = taps[p.shape[0] + height + v % width];
  float columns[2];
  for (int k = 0; k < 2; k++) {
    u32 at = k ? x.high : x.low;
    float rows[2];
    for (int j = 0; j < 2; j++) {
      u32 row = (j ? y.high : y.low) * width + at;
      rows[j] = mix(from[z.low * height * width + row], from[z.high * height * width + row], z.weight);
    }
    columns[k] = mix(rows[0], rows[1], y.weight);
  }
  to[v] = mix(columns[0], columns[1], x.weight);
}
LAUNCHABLE(low_resolution)

// A patch (channel, voxel) as (voxel, channel), with axes reversed and the channels of the bits in `masked` 0 where the label
// of the reversed patch is below 0.
struct Finish {
  u32 shape[3], channels, flips[3], masked;
};

template <typename T>
DEVICE void finish_patch(const float* from, const short* labels, T* to, Finish p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x, voxels = p.shape[0] * p.shape[1] * p.shape[2];
  if (v >= voxels) return;
  u32 place[3] = {v / p.shape[2] / p.shape[1], v / p.shape[2] % p.shape[1], v % p.shape[2]};
  for (int a = 0; a < 3; a++)
    if (p.flips[a]) place[a] = p.shape[a] - 1 - place[a];
  u32 source = (place[0] * p.shape[1] + place[1]) * p.shape[2] + place[2];
  bool outside = p.masked && labels[v] < 0;
  for (u32 c = 0; c < p.channels; c++) {
    float value = from[(u64)c * voxels + source];
    to[(u64)v * p.channels + c] = Narrow<T>::of(outside && (p.masked >> c & 1) ? 0.0f : value);
  }
}
KERNEL finish_patch_f32(const float* from, const short* labels, float* to, Finish p) { finish_patch(from, labels, to, p); }
LAUNCHABLE(finish_patch_f32)
KERNEL finish_patch_bf16(const float* from, const short* labels, bf16* to, Finish p) { finish_patch(from, labels, to, p); }
LAUNCHABLE(finish_patch_bf16)

// Mean, standard deviation, smallest and largest value of the channel blockIdx.x. One block per channel.
KERNEL intensity_statistics(const float* values, float* out, u32 count) {
  __shared__ double sums[8];
  __shared__ float bounds[2][256];
  const float* channel = values + (u64)blockIdx.x * count;
  float pivot = channel[0], low = pivot, high = pivot;
  double sum = 0, squares = 0;
  for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
    float v = channel[i], d = v - pivot;
    sum += d;
    squares += (double)d * d;
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  sum = sum_block(sum, sums);
  squares = sum_block(squares, sums);
  bounds[0][threadIdx.x] = low;
  bounds[1][threadIdx.x] = high;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (u32 t = 1; t < blockDim.x; t++) {
    low = bounds[0][t] < low ? bounds[0][t] : low;
    high = bounds[1][t] > high ? bounds[1][t] : high;
  }
  double offset = sum / count, variance = squares / count - offset * offset;
  out[4 * blockIdx.x] = (float)(pivot + offset);
  out[4 * blockIdx.x + 1] = (float)sqrt(variance > 0 ? variance : 0);
  out[4 * blockIdx.x + 2] = low;
  out[4 * blockIdx.x + 3] = high;
}
LAUNCHABLE_TOGETHER(intensity_statistics)

// Brightness: v * factor.
KERNEL intensity_brightness(float* values, u32 count, float factor) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) values[i] *= factor;
}
LAUNCHABLE(intensity_brightness)

// Contrast: stretches around the mean, within the old range if `preserve`. `statistics` are those of the channel.
KERNEL intensity_contrast(float* values, const float* statistics, u32 count, float factor, u32 preserve) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float v = (values[i] - statistics[0]) * factor + statistics[0];
  if (preserve) v = v < statistics[2] ? statistics[2] : v > statistics[3] ? statistics[3] : v;
  values[i] = v;
}
LAUNCHABLE(intensity_contrast)

// First half of gamma: the power of the values scaled to 0..1; `sign` -1 works on the negated channel.
KERNEL intensity_power(float* values, const float* statistics, u32 count, float exponent, float sign) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float low = sign < 0 ? -statistics[3] : statistics[2], range = statistics[3] - statistics[2];
  float divisor = range > 1e-7f ? range : 1e-7f, scaled = (sign * values[i] - low) / divisor;
  values[i] = powf(scaled > 0 ? scaled : 0, exponent) * range + low;
}
LAUNCHABLE(intensity_power)

// Second half of gamma: mean and standard deviation as before.
KERNEL intensity_restore(float* values, const float* before, const float* after, u32 count, float sign) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float scale = before[1] / (after[1] > 1e-7f ? after[1] : 1e-7f);
  values[i] = sign * ((values[i] - after[0]) * scale + sign * before[0]);
}
LAUNCHABLE(intensity_restore)

// Philox 4x32-10 (Salmon et al. 2011).
DEVICE void philox(u32 key0, u32 key1, u32* counter) {
  for (int round = 0; round < 10; round++) {
    u32 high0 = __umulhi(0xD2511F53u, counter[0]), low0 = 0xD2511F53u * counter[0];
    u32 high1 = __umulhi(0xCD9E8D57u, counter[2]), low1 = 0xCD9E8D57u * counter[2];
    counter[0] = high1 ^ counter[1] ^ key0;
    counter[1] = low1;
    counter[2] = high0 ^ counter[3] ^ key1;
    counter[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// Adds normal noise of the given standard deviation: Box and Muller's transform of the numbers of (key, voxel).
KERNEL intensity_noise(float* values, u32 count, float deviation, u32 key0, u32 key1) {
  u32 i = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (i >= count) return;
  u32 bits[4] = {i / 4, 0, 0, 0};
  philox(key0, key1, bits);
  for (u32 k = 0; k < 4; k += 2) {
    float u = ((float)(bits[k] >> 8) + 1.0f) * 5.9604645e-8f, angle = (float)(bits[k + 1] >> 8) * 1.1920929e-7f;
    float radius = deviation * sqrtf(-2.0f * logf(u));
    if (i + k < count) values[i + k] += radius * cospif(angle);
    if (i + k + 1 < count) values[i + k + 1] += radius * sinpif(angle);
  }
}
LAUNCHABLE(intensity_noise)
