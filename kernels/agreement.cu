// How far a labeling v agrees with the truth: sums over the labeled pixels, in two stages and one fixed order.
//
//     Σ_i c_i v_{i,truth(i)},  Σ_ij c_i v_ij,  Σ_ij c_i v_ij²,  Σ_i c_i,  #{i : argmax_j v_ij ≠ truth(i)},  #{i}
//
// over i with truth(i) ≥ 0, c_i = class_weights[truth(i)]. v: (J, n); truth: (n); class_weights: (J); partial:
// (6, blocks). One thread per pixel, and every `blocks`-th stretch of n to a block: the J numbers of a pixel add up in
// REAL, pixels in ACCUMULATOR. The second stage adds blocks. Least traffic per pixel, in reals: J + 1.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
agreement_kernel(const REAL* __restrict__ v, const int* __restrict__ truth, const REAL* __restrict__ class_weights,
                 ACCUMULATOR* __restrict__ partial, const int labels, const long long n, const int blocks)
{
    ACCUMULATOR total[SUMS] = {};
    for (INDEX at = (INDEX)blockIdx.x * THREADS + thread_index(); at < n; at += (INDEX)blocks * THREADS) {
        const int label = truth[at];
        if (label < 0) continue;
        REAL sum = 0, squares = 0, highest = 0, hit = 0;
        int winner = 0;
        for (int j = 0; j < labels; ++j) {
            const REAL x = v[(INDEX)j * n + at];
            sum += x;
            squares += x * x;
            if (j == label) hit = x;
            if (j == 0 || x > highest) {
                highest = x;
                winner = j;
            }
        }
        const ACCUMULATOR c = class_weights[label];
        const ACCUMULATOR mine[SUMS] = {c * hit, c * sum, c * squares, c, ACCUMULATOR(winner != label), 1};
        UNROLL for (int m = 0; m < SUMS; ++m) total[m] += mine[m];
    }
    block_reduce(total, [](ACCUMULATOR a, ACCUMULATOR b) { return a + b; });
    if (thread_index() == 0) {
        UNROLL for (int m = 0; m < SUMS; ++m) partial[m * blocks + blockIdx.x] = total[m];
    }
}

// Second stage: one block per sum.
extern "C" __global__ void __launch_bounds__(THREADS)
agreement_sum(const ACCUMULATOR* __restrict__ partial, ACCUMULATOR* __restrict__ result, const int blocks)
{
    sum_blocks(partial, result, blocks);
}
