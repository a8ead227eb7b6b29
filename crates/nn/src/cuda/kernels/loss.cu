// Soft Dice plus cross-entropy over channels-last logits, and its gradient.
//
// Where `membership` is null, channels are labels: softmax, and channel 0 has no Dice. Otherwise membership[label][channel]
// says which regions a label belongs to: sigmoids, binary cross-entropy, Dice of every channel.
#include "base.cuh"

// What the sums of a channel are.
#define LOSS_SUMS 5
enum { HIT, PREDICTED, TARGET, ENTROPY, VALID };

struct Loss {
  u32 batch, voxels, channels;
  // The label that does not count; -1 for none.
  int ignore;
  u32 batch_dice, has_dice, has_entropy;
  float smooth;
  // Factor of this output in the whole loss.
  float weight;
  // Samples of the whole batch, of which these begin with this one: devices may share a batch.
  u32 whole, first;
};

// Logarithm of the sum of exponentials of every voxel's logits.
KERNEL loss_normaliser(const float* logits, float* normaliser, u32 count, u32 channels) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x;
  if (v >= count) return;
  const float* z = logits + (u64)v * channels;
  float largest = z[0];
  for (u32 c = 1; c < channels; c++) largest = z[c] > largest ? z[c] : largest;
  float sum = 0;
  for (u32 c = 0; c < channels; c++) sum += expf(z[c] - largest);
  normaliser[v] = largest + logf(sum);
}
LAUNCHABLE(loss_normaliser)

DEVICE float sigmoid(float z) {
  float small = expf(-fabsf(z));
  return z >= 0.0f ? 1.0f / (1.0f + small) : small / (1.0f + small);
}

// partial[sample][chunk][channel][LOSS_SUMS].
KERNEL loss_partial(const float* logits, const short* labels, const float* normaliser, const unsigned char* membership,
                    float* partial, Loss p, u32 chunk) {
  __shared__ float shared[LANES * ROWS];
  u32 lane = threadIdx.x % LANES, row = threadIdx.x / LANES, c = blockIdx.y * LANES + lane, b = blockIdx.z;
  float sums[LOSS_SUMS] = {0, 0, 0, 0, 0};
  if (c < p.channels) {
    u32 first = blockIdx.x * chunk, end = first + chunk < p.voxels ? first + chunk : p.voxels;
    for (u32 v = first + row; v < end; v += ROWS) {
      u64 at = (u64)b * p.voxels + v;
      int label = labels[at];
      if (label == p.ignore) continue;
      float z = logits[at * p.channels + c];
      bool inside = membership ? membership[(u64)label * p.channels + c] != 0 : (u32)label == c;
      float probability, entropy;
      if (membership) {
        probability = sigmoid(z);
        entropy = (z > 0.0f ? z : 0.0f) - (inside ? z : 0.0f) + log1pf(expf(-fabsf(z)));
      } else {
        probability = expf(z - normaliser[at]);
        entropy = inside ? normaliser[at] - z : 0.0f;
      }
      sums[HIT] += inside ? probability : 0.0f;
      sums[PREDICTED] += probability;
      sums[TARGET] += inside ? 1.0f : 0.0f;
      sums[ENTROPY] += entropy;
      sums[VALID] += 1.0f;
    }
  }
  for (int k = 0; k < LOSS_SUMS; k++) {
    float sum = sum_rows(sums[k], lane, row, shared);
    if (row == 0 && c < p.channels)
      partial[(((u64)b * gridDim.x + blockIdx.x) * p.channels + c) * LOSS_SUMS + k] = sum;
  }
}
LAUNCHABLE_TOGETHER(loss_partial)

// totals[sample][channel][LOSS_SUMS], at the places of this device's samples.
KERNEL loss_totals(const float* partial, double* totals, Loss p, u32 chunks) {
  u32 per_sample = p.channels * LOSS_SUMS, i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= p.batch * per_sample) return;
  double sum = 0;
  for (u32 k = 0; k < chunks; k++) sum += partial[((u64)(i / per_sample) * chunks + k) * per_sample + i % per_sample];
  totals[p.first * per_sample + i] = sum;
}
LAUNCHABLE(loss_totals)

// Adds weight * loss to `value`, and writes what the gradient needs: coefficients[sample][channel][2], the slopes of Dice
// where the voxel belongs to the channel and everywhere, and behind them the factor of the cross-entropy. One block; both
// arrays are those of the whole batch.
KERNEL loss_finish(const double* totals, const unsigned char* membership, float* coefficients, float* value, Loss p) {
  if (threadIdx.x != 0) return;
  u32 per_sample = p.channels * LOSS_SUMS;
  double entropy = 0, valid = 0;
  for (u32 b = 0; b < p.whole; b++) {
    valid += totals[b * per_sample + VALID];
    for (u32 c = 0; c < p.channels; c++) entropy += totals[b * per_sample + c * LOSS_SUMS + ENTROPY];
  }
  double terms = valid;
  if (membership) {
    terms = p.ignore < 0 ? (double)p.whole * p.voxels * p.channels : valid;
    terms = terms > 1e-8 ? terms : 1e-8;
  }
  double factor = p.has_entropy && terms > 0 ? 1.0 / terms : 0.0, loss = entropy * factor;
  u32 first = membership ? 0 : 1, groups = p.batch_dice ? 1 : p.whole, members = p.whole / groups;
  double count = (double)groups * (p.channels - first);
  for (u32 group = 0; group < groups; group++) {
    for (u32 c = 0; c < p.channels; c++) {
      double hit = 0, sum = p.smooth;
      for (u32 b = group * members; b < (group + 1) * members; b++) {
        const double* of = totals + b * per_sample + c * LOSS_SUMS;
        hit += of[HIT];
        sum += of[TARGET] + of[PREDICTED];
      }
      double top = 2.0 * hit + p.smooth, bottom = sum > 1e-8 ? sum : 1e-8, overlap = 0, everywhere = 0;
      if (p.has_dice && c >= first) {
        loss -= top / bottom / count;
        overlap = -2.0 / bottom / count * p.weight;
        everywhere = sum >= 1e-8 ? top / (bottom * bottom) / count * p.weight : 0.0;
      }
      for (u32 b = group * members; b < (group + 1) * members; b++) {
        coefficients[(b * p.channels + c) * 2] = (float)overlap;
        coefficients[(b * p.channels + c) * 2 + 1] = (float)everywhere;
      }
    }
  }
  coefficients[p.whole * p.channels * 2] = (float)(factor * p.weight);
  *value += (float)(loss * p.weight);
}
LAUNCHABLE(loss_finish)

// The gradient with respect to the logits.
template <typename T>
DEVICE void loss_gradient(const float* logits, const short* labels, const float* normaliser,
                          const unsigned char* membership, const float* coefficients, T* gradient, Loss p) {
  u32 v = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.y;
  if (v >= p.voxels) return;
  u64 at = (u64)b * p.voxels + v;
  const float* z = logits + at * p.channels;
  const float* slopes = coefficients + (u64)(p.first + b) * p.channels * 2;
  float entropy = coefficients[(u64)p.whole * p.channels * 2];
  T* out = gradient + at * p.channels;
  int label = labels[at];
  if (label == p.ignore) {
    for (u32 c = 0; c < p.channels; c++) out[c] = Narrow<T>::of(0.0f);
    return;
  }
  if (membership) {
    for (u32 c = 0; c < p.channels; c++) {
      bool inside = membership[(u64)label * p.channels + c] != 0;
      float probability = sigmoid(z[c]), slope = slopes[2 * c + 1] + (inside ? slopes[2 * c] : 0.0f);
      float dice = slope * probability * (1.0f - probability);
      out[c] = Narrow<T>::of(dice + entropy * (probability - (inside ? 1.0f : 0.0f)));
    }
    return;
  }
  float mean = 0, norm = normaliser[at];
  for (u32 c = 0; c < p.channels; c++) {
    float slope = slopes[2 * c + 1] + ((u32)label == c ? slopes[2 * c] : 0.0f);
    mean += expf(z[c] - norm) * slope;
  }
  for (u32 c = 0; c < p.channels; c++) {
    bool inside = (u32)label == c;
    float probability = expf(z[c] - norm), slope = slopes[2 * c + 1] + (inside ? slopes[2 * c] : 0.0f);
    out[c] = Narrow<T>::of(probability * (slope - mean + entropy) - (inside ? entropy : 0.0f));
  }
}

#define LOSS_GRADIENT(suffix, T)                                                                            \
  KERNEL loss_gradient_##suffix(const float* logits, const short* labels, const float* normaliser,          \
                                const unsigned char* membership, const float* coefficients, T* gradient,    \
                                Loss p) {                                                                   \
    loss_gradient<T>(logits, labels, normaliser, membership, coefficients, gradient, p);                    \
  }                                                                                                         \
  LAUNCHABLE(loss_gradient_##suffix)

LOSS_GRADIENT(f32, float)
LOSS_GRADIENT(bf16, bf16)
