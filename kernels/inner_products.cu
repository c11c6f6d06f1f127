// G_kp = ⟨q_k, x_p⟩: inner products over the whole image, in two stages and one fixed order.
//
// q: (K, n), x: (P, n), G: (K, P), partial: (K, P, blocks). Every block owns ROWS × OTHERS entries of G and every
// `blocks`-th stretch of n: products run in REAL over STEPS elements of a thread, everything above in ACCUMULATOR.
// The second stage adds the blocks. Least traffic per element, in reals: K + P; a row is read once for every tile of
// G that it belongs to.
#include "common.cuh"

constexpr int STRETCH = STEPS * THREADS;

extern "C" __global__ void __launch_bounds__(THREADS)
inner_products_kernel(const REAL* __restrict__ rows, const REAL* __restrict__ others, ACCUMULATOR* __restrict__ partial,
                      const int n_rows, const int n_others, const long long n, const int blocks)
{
    const int tiles = (n_rows + ROWS - 1) / ROWS, tile = blockIdx.x % (tiles * ((n_others + OTHERS - 1) / OTHERS));
    const int first_row = tile % tiles * ROWS, first_other = tile / tiles * OTHERS;
    const int block = blockIdx.x / (tiles * ((n_others + OTHERS - 1) / OTHERS));
    const REAL *q[ROWS], *x[OTHERS];  // past the last row the last one is read again and not written
    UNROLL for (int k = 0; k < ROWS; ++k) q[k] = rows + (INDEX)min(first_row + k, n_rows - 1) * n;
    UNROLL for (int p = 0; p < OTHERS; ++p) x[p] = others + (INDEX)min(first_other + p, n_others - 1) * n;

    ACCUMULATOR total[ROWS * OTHERS] = {};
    for (INDEX start = (INDEX)block * STRETCH; start < n; start += (INDEX)blocks * STRETCH) {
        REAL part[ROWS * OTHERS] = {};
        UNROLL for (int step = 0; step < STEPS; ++step) {
            const INDEX at = start + step * THREADS + thread_index();
            if (at < n) {
                UNROLL for (int p = 0; p < OTHERS; ++p) {
                    const REAL factor = x[p][at];
                    UNROLL for (int k = 0; k < ROWS; ++k) part[k * OTHERS + p] += q[k][at] * factor;
                }
            }
        }
        UNROLL for (int m = 0; m < ROWS * OTHERS; ++m) total[m] += part[m];
    }
    block_reduce(total, [](ACCUMULATOR a, ACCUMULATOR b) { return a + b; });
    if (thread_index() == 0) {
        UNROLL for (int m = 0; m < ROWS * OTHERS; ++m) {
            const int k = first_row + m / OTHERS, p = first_other + m % OTHERS;
            if (k < n_rows && p < n_others) partial[((long long)k * n_others + p) * blocks + block] = total[m];
        }
    }
}

// Second stage: one block per entry of G.
extern "C" __global__ void __launch_bounds__(THREADS)
inner_products_sum(const ACCUMULATOR* __restrict__ partial, ACCUMULATOR* __restrict__ result, const int blocks)
{
    sum_blocks(partial, result, blocks);
}
