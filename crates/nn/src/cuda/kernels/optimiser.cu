// Stochastic gradient descent with Nesterov momentum, weight decay and clipping by the norm of all gradients together.
#include "base.cuh"

// partial[block] of the squares.
KERNEL square_partial(const float* gradient, double* partial, u32 count) {
  __shared__ double shared[8];
  double sum = 0;
  for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    sum += (double)gradient[i] * gradient[i];
  sum = sum_block(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
LAUNCHABLE_TOGETHER(square_partial)

// The norm, from the partial sums. One block.
KERNEL square_finish(const double* partial, float* norm, u32 blocks) {
  __shared__ double shared[8];
  double sum = 0;
  for (u32 i = threadIdx.x; i < blocks; i += blockDim.x) sum += partial[i];
  sum = sum_block(sum, shared);
  if (threadIdx.x == 0) *norm = (float)sqrt(sum);
}
LAUNCHABLE_TOGETHER(square_finish)

// g = clipped + decay * w; m = momentum * m + g; w -= lr * (g + momentum * m). Nothing where the norm is not finite.
KERNEL sgd_step(float* weights, float* momenta, const float* gradient, const float* norm, u32 count, float clip,
                float decay, float momentum, float lr) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  float length = *norm;
  if (i >= count || !(length < 3.4e38f)) return;
  float scale = clip / (length + 1e-6f);
  scale = scale < 1.0f ? scale : 1.0f;
  float w = weights[i], g = gradient[i] * scale + decay * w, m = momentum * momenta[i] + g;
  momenta[i] = m;
  weights[i] = w - lr * (g + momentum * m);
}
LAUNCHABLE(sgd_step)
