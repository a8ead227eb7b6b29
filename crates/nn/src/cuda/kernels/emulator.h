// A CUDA device for tests: blocks one after the other, and the threads of a block as contexts that take turns, each running
// to the next point where all meet.
#pragma once
#include <math.h>
#include <stddef.h>
#include <string.h>

#include <utility>

struct uint3 {
  unsigned x, y, z;
};

extern uint3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define KERNEL extern "C" void
#define DEVICE static inline

// Where all threads of a block meet. Ends the process if the kernel is not marked LAUNCHABLE_TOGETHER, or if some threads
// have ended already: on a device both are undefined.
void emulator_meet();
static inline void __syncthreads() { emulator_meet(); }

// Values that threads hand to each other.
extern double emulator_hand[1024];

template <typename S>
static inline S shuffle_down(S value, int distance) {
  unsigned me = threadIdx.x;
  emulator_hand[me] = value;
  emulator_meet();
  S other = me % 32 + distance < 32 ? (S)emulator_hand[me + distance] : value;
  emulator_meet();
  return other;
}

static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static inline float cospif(float x) { return (float)cos(3.14159265358979323846 * x); }
static inline float sinpif(float x) { return (float)sin(3.14159265358979323846 * x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }

typedef void (*emulator_body)(void** arguments);

// Adds a kernel to those that can be launched by name.
struct EmulatorEntry {
  const char* name;
  emulator_body body;
  bool together;
  EmulatorEntry* next;
  EmulatorEntry(const char* name, emulator_body body, bool together);
};

template <typename... A, size_t... I>
static void emulator_call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*reinterpret_cast<A*>(arguments[I])...);
}

template <typename... A>
static void emulator_call(void (*kernel)(A...), void** arguments) {
  emulator_call(kernel, arguments, std::index_sequence_for<A...>{});
}

#define EMULATOR_ENTRY(kernel, together) \
  static EmulatorEntry emulator_entry_##kernel(#kernel, [](void** a) { emulator_call(kernel, a); }, together);
#define LAUNCHABLE(kernel) EMULATOR_ENTRY(kernel, false)
#define LAUNCHABLE_TOGETHER(kernel) EMULATOR_ENTRY(kernel, true)
