// ∂Ω and c: the closed-form gradient in the weight patches, both terms in one pass.
//
//     c     = m̄ + Σ_r [ u_r∘x_r − ⟨S, x_r⟩ u_r − ⟨u_r, S⟩ x_r ],   x_r = Ω v_r
//     ∂ω_ik = Σ_r ⟨(R_S u_r)_i, (v_r)_k⟩ + ⟨(R_S c)_i, ℓ_k⟩        (k ∈ N_i)
//
// S, ℓ, m̄, c: (J, H, W); u, v: (R, J, H, W); Ω, ∂Ω: (N, H, W). ∂ω of a neighbor outside is 0.
// One thread per pixel: its patch, its ∂ω, S and c in registers, neighbors of v and ℓ through the L1 cache.
// Least traffic per pixel, in reals: 2RJ + 4J + 2N.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
weight_gradient_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ similarity,
                       const REAL* __restrict__ log_likelihood, const REAL* __restrict__ mean,
                       const REAL* __restrict__ left, const REAL* __restrict__ right, const int terms,
                       REAL* __restrict__ gradient, REAL* __restrict__ derivative,
                       const int labels, const int height, const int width)
{
    const Pixel p = thread_pixel(height, width);
    const INDEX plane = p.plane();
    if (!p.inside(0, 0)) return;
    const Patch patch(p, weights);
    const Values s(similarity + p.at, plane);
    Scratch c(derivative + p.at, plane);
    REAL g[COUNT] = {};
    EACH_LABEL(j) c[j] = mean[j * plane + p.at];
    for (int r = 0; r < terms; ++r) {
        const REAL* u = left + ((INDEX)r * labels * plane + p.at);
        const REAL* v = right + ((INDEX)r * labels * plane + p.at);
        REAL us = 0, sx = 0;
        EACH_LABEL(j) us += s[j] * u[j * plane];
        EACH_LABEL(j)
        {
            const REAL difference = u[j * plane] - us, z = s[j] * difference;
            REAL x = 0;
            each_neighbor(p, [&](int o, INDEX offset) {
                const REAL neighbor = v[j * plane + offset];
                x += patch[o] * neighbor;
                g[o] += z * neighbor;
            });
            sx += s[j] * x;
            c[j] += difference * x;
        }
        EACH_LABEL(j) c[j] -= sx * u[j * plane];
    }
    REAL sc = 0;
    EACH_LABEL(j) sc += s[j] * c[j];
    EACH_LABEL(j)
    {
        const REAL z = s[j] * (c[j] - sc);
        const REAL* l = log_likelihood + (j * plane + p.at);
        each_neighbor(p, [&](int o, INDEX offset) { g[o] += z * l[offset]; });
        derivative[j * plane + p.at] = c[j];
    }
    UNROLL for (int o = 0; o < COUNT; ++o) gradient[o * plane + p.at] = g[o];
}
