// S = softmax(Ω ℓ), and the largest 2 S (1 − S) of every block: their maximum bounds the norm of A.
//
//     S_ij = exp((Ωℓ)_ij) / Σ_l exp((Ωℓ)_il),   (Ωℓ)_i = Σ_{k ∈ N_i} ω_ik ℓ_k
//
// ℓ, S: (B, D, H, J, W); Ω: (B, D, H, N, W), or one for all images: `apart` rows from one image to the next; bound:
// (B, blocks). One thread per pixel.
// Least traffic per pixel, in reals: 2J + N.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
similarity_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ log_likelihood, REAL* __restrict__ result,
                  REAL* __restrict__ bound,
                  const int apart, const int run_time_labels, const int height, const int width, const int depth)
{
    const Pixel p = thread_pixel(depth, height, width);
    const int labels = LABELS ? LABELS : run_time_labels;
    REAL highest[1] = {0};
    if (p.inside()) {
        const INDEX first = p.at(labels);
        const Patch patch(p, weights, apart);
        Scratch s(result + first, width);
        REAL top = 0, total = 0;
        EACH_LABEL(j)
        {
            const REAL average = patch.average(p, labels, log_likelihood + (first + j * width));
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
            result[first + j * width] = S;
            highest[0] = rate > highest[0] ? rate : highest[0];
        }
    }
    block_reduce(highest, [](REAL a, REAL b) { return a > b ? a : b; });
    if (thread_index() == 0) bound[(INDEX)blockIdx.y * gridDim.x + blockIdx.x] = highest[0];
}
