// y = s·source + R_S Ω v: one product with the matrix A of the linearized assignment flow.
//
//     y_i = s source_i + S_i ∘ (x_i − ⟨S_i, x_i⟩),   x_i = Σ_{k ∈ N_i} ω_ik v_k
//
// v, S, source, y: (B, D, H, J, W); Ω: (B, D, H, N, W), or one for all images: `apart` rows from one image to the next.
// REPLICATE 0: y = s·source + Ω v, S is not read. source may be null.
// One thread per pixel: its patch and its S in registers, neighbors of v through the L1 cache.
// Least traffic per pixel, in reals: 3J + N, and J more with a source.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
operator_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ similarity, const REAL* __restrict__ field,
                const REAL* __restrict__ source, const REAL scale, REAL* __restrict__ result,
                const int apart, const int run_time_labels, const int height, const int width, const int depth)
{
    const Pixel p = thread_pixel(depth, height, width);
    if (!p.inside()) return;
    const int labels = LABELS ? LABELS : run_time_labels;
    const INDEX first = p.at(labels);
    const Patch patch(p, weights, apart);
    const Values s((REPLICATE ? similarity : field) + first, width);
    Scratch x(result + first, width);
    REAL dot = 0;
    EACH_LABEL(j)
    {
        const REAL average = patch.average(p, labels, field + (first + j * width));
        x[j] = average;
        if (REPLICATE) dot += s[j] * average;
    }
    EACH_LABEL(j)
    {
        const INDEX at = first + j * width;
        const REAL y = REPLICATE ? s[j] * (x[j] - dot) : x[j];
        result[at] = source ? scale * source[at] + y : y;
    }
}
