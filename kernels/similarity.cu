// S = softmax(Ω ℓ), and the largest 2 S (1 − S) of every block: their maximum bounds the norm of A.
//
//     S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k
//
// ℓ, S: (J, D, H, W); Ω: (N, D, H, W); bound: one number per block. One thread per pixel.
// Least traffic per pixel, in reals: 2J + N.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
similarity_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ log_likelihood, REAL* __restrict__ result,
                  REAL* __restrict__ bound,
                  const int labels, const int height, const int width, const int depth)
{
    const Pixel p = thread_pixel(depth, height, width);
    const INDEX plane = p.plane();
    REAL highest[1] = {0};
    if (p.inside()) {
        const Patch patch(p, weights);
        Scratch s(result + p.at, plane);
        REAL top = 0, total = 0;
        EACH_LABEL(j)
        {
            const REAL average = patch.average(p, log_likelihood + (j * plane + p.at));
            s[j] = average;
            top = j == 0 || average > top ? average : top;
        }
        EACH_LABEL(j)
        {
            const REAL e = exp(s[j] - top);
            s[j] = e;
            total += e;
        }
        EACH_LABEL(j)
        {
            const REAL S = s[j] / total, rate = 2 * S * (1 - S);
            result[j * plane + p.at] = S;
            highest[0] = rate > highest[0] ? rate : highest[0];
        }
    }
    block_reduce(highest, [](REAL a, REAL b) { return a > b ? a : b; });
    if (thread_index() == 0) bound[blockIdx.x] = highest[0];
}
