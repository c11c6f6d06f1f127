// y_r = s_r + Σ_k c_rk q_k: linear combinations of fields, in the order of k at every element.
//
// q: (K, n), s and y: (R, n), c: (R, K). One thread per element and ROWS results; s may be null.
// Least traffic per element, in reals: K + 2R, K + R without a start (K of them again for every further ROWS results).
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
combination_kernel(const REAL* __restrict__ coefficients, const REAL* __restrict__ rows,
                   const REAL* __restrict__ start, REAL* __restrict__ result,
                   const int n_results, const int n_rows, const long long n)
{
    const int tiles = (n_results + ROWS - 1) / ROWS, first = blockIdx.x % tiles * ROWS;
    const INDEX at = (INDEX)(blockIdx.x / tiles) * THREADS + thread_index();
    if (at >= n) return;
    REAL sum[ROWS];
    UNROLL for (int r = 0; r < ROWS; ++r) {
        sum[r] = start && first + r < n_results ? start[(INDEX)(first + r) * n + at] : 0;
    }
    _Pragma("unroll 8") for (int k = 0; k < n_rows; ++k)
    {
        const REAL q = rows[(INDEX)k * n + at];
        UNROLL for (int r = 0; r < ROWS; ++r) {
            sum[r] += coefficients[min(first + r, n_results - 1) * n_rows + k] * q;
        }
    }
    UNROLL for (int r = 0; r < ROWS; ++r) {
        if (first + r < n_results) result[(INDEX)(first + r) * n + at] = sum[r];
    }
}
