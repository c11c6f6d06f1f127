// How far a labeling v agrees with the truth: sums over the labeled pixels, in two stages and one fixed order.
//
//     Σ_i c_i v_{i,truth(i)},  Σ_ij c_i v_ij,  Σ_ij c_i v_ij²,  Σ_i c_i,  #{i : argmax_j v_ij ≠ truth(i)},  #{i}
//
// over i with truth(i) ≥ 0, c_i = class_weights[truth(i)]. v: (B, R, J, W); truth: (B, R, W); class_weights: (J);
// partial: (B, 6, blocks). One thread per pixel, and every `blocks`-th tile of an image to a block: the J numbers of a
// pixel add up in REAL, pixels in ACCUMULATOR. The second stage adds blocks. Least traffic per pixel, in reals: J + 1.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
agreement_kernel(const REAL* __restrict__ v, const int* __restrict__ truth, const REAL* __restrict__ class_weights,
                 ACCUMULATOR* __restrict__ partial,
                 const int labels, const int height, const int width, const int tiles)
{
    ACCUMULATOR total[SUMS] = {};
    for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
        const Pixel p = thread_pixel(Tile(height, width, t), 1, height, width);
        const int label = p.inside() ? truth[p.at(1)] : -1;
        if (label < 0) continue;
        const REAL* mine = v + p.at(labels);
        REAL sum = 0, squares = 0, highest = 0, hit = 0;
        int winner = 0;
        for (int j = 0; j < labels; ++j) {
            const REAL x = mine[j * width];
            sum += x;
            squares += x * x;
            if (j == label) hit = x;
            if (j == 0 || x > highest) {
                highest = x;
                winner = j;
            }
        }
        const ACCUMULATOR c = label < labels ? class_weights[label] : 0;
        const ACCUMULATOR terms[SUMS] = {c * hit, c * sum, c * squares, c, ACCUMULATOR(winner != label), 1};
        UNROLL for (int m = 0; m < SUMS; ++m) total[m] += terms[m];
    }
    block_reduce(total, [](ACCUMULATOR a, ACCUMULATOR b) { return a + b; });
    if (thread_index() == 0) {
        UNROLL for (int m = 0; m < SUMS; ++m) partial[(blockIdx.y * SUMS + m) * gridDim.x + blockIdx.x] = total[m];
    }
}

// Second stage: one block per sum and image.
extern "C" __global__ void __launch_bounds__(THREADS)
agreement_sum(const ACCUMULATOR* __restrict__ partial, ACCUMULATOR* __restrict__ result, const int blocks)
{
    sum_blocks(partial, result, blocks);
}
