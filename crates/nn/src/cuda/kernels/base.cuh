// What every kernel is written over: the device's own words, or their stand-ins on the CPU.
#pragma once

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
// Names a kernel for the CPU build; nothing here.
#define LAUNCHABLE(name)
#define LAUNCHABLE_TOGETHER(name)

// The value that the thread `distance` lanes further in the warp has.
DEVICE float shuffle_down(float value, int distance) { return __shfl_down_sync(0xffffffffu, value, distance); }
DEVICE double shuffle_down(double value, int distance) { return __shfl_down_sync(0xffffffffu, value, distance); }
#else
#include "emulator.h"
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// 16 bits of a float, rounded to nearest, ties to even.
struct bf16 {
  unsigned short bits;
};

DEVICE float widen(float value) { return value; }
DEVICE float widen(bf16 value) { return __uint_as_float((u32)value.bits << 16); }

template <typename T>
struct Narrow;
template <>
struct Narrow<float> {
  DEVICE float of(float value) { return value; }
};
template <>
struct Narrow<bf16> {
  DEVICE bf16 of(float value) {
    bf16 result;
#ifdef __CUDACC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
    u32 bits = __float_as_uint(value);
    result.bits = value != value ? 0x7fff : (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
    return result;
  }
};

// N neighbouring values, read and written at once.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <typename T, int N>
DEVICE Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <typename T, int N>
DEVICE void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

DEVICE float leaky(float value, float slope) { return value > 0.0f ? value : value * slope; }

// Kernels that sum over voxels run in blocks of 32 channels times 8 voxels.
#define LANES 32
#define ROWS 8

// Adds up the values of the ROWS threads of each lane; complete in the threads of row 0.
template <typename S>
DEVICE S sum_rows(S value, u32 lane, u32 row, S* shared) {
  shared[row * LANES + lane] = value;
  __syncthreads();
  S sum = 0;
  if (row == 0) {
    for (int r = 0; r < ROWS; r++) sum += shared[r * LANES + lane];
  }
  __syncthreads();
  return sum;
}

// Sum over a block of 256 threads; complete in thread 0.
DEVICE double sum_block(double value, double* shared) {
  for (int distance = 16; distance > 0; distance /= 2) value += shuffle_down(value, distance);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) sum += shared[warp];
  }
  __syncthreads();
  return sum;
}
