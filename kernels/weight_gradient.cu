// ∂Ω and z: the closed-form gradient in the weight patches, both terms in one pass.
//
//     z     = w − S Σ_j w_j,   w = S∘m̄ + Σ_r (u_r − ⟨u_r, S⟩)∘(A v_r)
//     ∂ω_ik = Σ_r ⟨(R_S u_r)_i, (v_r)_k⟩ + ⟨z_i, ℓ_k⟩        (k ∈ N_i)
//
// S, ℓ, m̄, z: (J, D, H, W); u, v, Av: (R, J, D, H, W); ∂Ω: (N, D, H, W). ∂ω of a neighbor outside is 0.
// One thread per pixel: its ∂ω, S and w in registers, neighbors of v and ℓ through the L1 cache.
// Least traffic per pixel, in reals: 3RJ + 4J + N.
#include "common.cuh"

// Left alone, the compiler spills in the loop at run time to reach more blocks per multiprocessor than the four that fit,
// and for a volume, two or one.
constexpr int FITTING = REACH ? 8 / sizeof(REAL) : 4;
constexpr int BLOCKS = (LABELS == 0 || REACH) && RADIUS == 1 && sizeof(INDEX) == 4 ? FITTING : 0;

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
weight_gradient_kernel(const REAL* __restrict__ similarity, const REAL* __restrict__ log_likelihood,
                       const REAL* __restrict__ mean, const REAL* __restrict__ left, const REAL* __restrict__ right,
                       const REAL* __restrict__ image, const int terms,
                       REAL* __restrict__ gradient, REAL* __restrict__ derivative,
                       const int labels, const int height, const int width, const int depth)
{
    const Pixel p = thread_pixel(depth, height, width);
    const INDEX plane = p.plane();
    if (!p.inside()) return;
    const Values s(similarity + p.at, plane);
    Scratch w(derivative + p.at, plane);
    REAL g[COUNT] = {};
    EACH_LABEL(j) w[j] = s[j] * mean[j * plane + p.at];
    for (int r = 0; r < terms; ++r) {
        const INDEX first = (INDEX)r * labels * plane + p.at;
        REAL us = 0;
        EACH_LABEL(j) us += s[j] * left[first + j * plane];
        EACH_LABEL(j)
        {
            const INDEX at = first + j * plane;
            const REAL difference = left[at] - us, factor = s[j] * difference;
            w[j] += difference * image[at];
            each_neighbor(p, [&](int o, INDEX offset) { g[o] += factor * right[at + offset]; });
        }
    }
    REAL sum = 0;
    EACH_LABEL(j) sum += w[j];
    EACH_LABEL(j)
    {
        const REAL z = w[j] - s[j] * sum;
        const REAL* l = log_likelihood + (j * plane + p.at);
        each_neighbor(p, [&](int o, INDEX offset) { g[o] += z * l[offset]; });
        derivative[j * plane + p.at] = z;
    }
    UNROLL for (int o = 0; o < COUNT; ++o) gradient[o * plane + p.at] = g[o];
}
