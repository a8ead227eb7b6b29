// Transposed convolution with kernel = stride: every input voxel becomes a box of outputs, so that the product of inputs and
// weights only has to be put in place.
#include "base.cuh"

struct Boxes {
  // Voxels of the input, and the box that each becomes.
  u32 in[3], stride[3];
  u32 channels;
  // Values from one output voxel to the next.
  u32 pitch;
};

// Offset in the output of value `i` of the product (sample, input voxel, box voxel, channel).
DEVICE u64 boxes_place(const Boxes& p, u64 i) {
  u32 box = p.stride[0] * p.stride[1] * p.stride[2];
  u32 c = (u32)(i % p.channels), r = (u32)(i / p.channels % box);
  u64 v = i / p.channels / box;
  u32 x = (u32)(v % p.in[2]) * p.stride[2] + r % p.stride[2];
  u32 y = (u32)(v / p.in[2] % p.in[1]) * p.stride[1] + r / p.stride[2] % p.stride[1];
  u64 z = v / p.in[2] / p.in[1];
  u64 sample = z / p.in[0];
  z = z % p.in[0] * p.stride[0] + r / p.stride[2] / p.stride[1];
  u64 row = ((sample * p.in[0] * p.stride[0] + z) * p.in[1] * p.stride[1] + y) * p.in[2] * p.stride[2] + x;
  return row * p.pitch + c;
}

// Puts products in place and adds the bias, if it is not null.
template <typename T>
DEVICE void boxes_scatter(const T* product, const float* bias, T* y, Boxes p, u64 count) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float value = widen(product[i]) + (bias ? bias[i % p.channels] : 0.0f);
  y[boxes_place(p, i)] = Narrow<T>::of(value);
}

// Takes gradients from their places.
template <typename T>
DEVICE void boxes_gather(const T* dy, T* product, Boxes p, u64 count) {
  u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) product[i] = dy[boxes_place(p, i)];
}

#define BOXES(suffix, T)                                                                                \
  KERNEL boxes_scatter_##suffix(const T* product, const float* bias, T* y, Boxes p, u64 count) {        \
    boxes_scatter<T>(product, bias, y, p, count);                                                       \
  }                                                                                                     \
  LAUNCHABLE(boxes_scatter_##suffix)                                                                    \
  KERNEL boxes_gather_##suffix(const T* dy, T* product, Boxes p, u64 count) {                           \
    boxes_gather<T>(dy, product, p, count);                                                             \
  }                                                                                                     \
  LAUNCHABLE(boxes_gather_##suffix)

BOXES(f32, float)
BOXES(bf16, bf16)
