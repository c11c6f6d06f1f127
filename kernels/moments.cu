// The moments of Riemannian Adam: the gradient's tangent part and its squared Fisher–Rao norm, averaged over steps.
//
//     t_i = c (∂L_i − ⟨Ω_i, ∂L_i⟩)
//     first_i ← β₁ first_i + (1 − β₁) t_i,   second_i ← β₂ second_i + (1 − β₂) ⟨Ω_i, t_i²⟩
//
// Ω, ∂L, first: (R, N, W); second: (R, W). first = null: only the squared norm. One thread per pixel; the gradient is
// read twice, the second time from the cache. Least traffic per pixel, in reals: 4N + 2, without moments 2N + 1.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
moments_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ gradient, const REAL* __restrict__ first,
               const REAL* __restrict__ second, const REAL beta1, const REAL beta2, const REAL scale,
               REAL* __restrict__ new_first, REAL* __restrict__ new_second,
               const int count, const int height, const int width)
{
    const Pixel p = thread_pixel(1, height, width);
    if (!p.inside()) return;
    const INDEX patch = p.at(count), at = p.at(1);
    REAL mean = 0, squared = 0;
    for (int o = 0; o < count; ++o) mean += weights[patch + o * width] * gradient[patch + o * width];
    for (int o = 0; o < count; ++o) {
        const INDEX here = patch + o * width;
        const REAL tangent = scale * (gradient[here] - mean);
        squared += weights[here] * tangent * tangent;
        if (first) new_first[here] = beta1 * first[here] + (1 - beta1) * tangent;
    }
    new_second[at] = second ? beta2 * second[at] + (1 - beta2) * squared : squared;
}
