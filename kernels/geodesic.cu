// Exp_p(R_p x) = p∘e^x / ⟨p, e^x⟩: a step along the e-geodesic of the simplex, kept inside it.
//
//     x ← s (x − ⟨p, x⟩) cut to ±bound,   q = p∘e^x / ⟨p, e^x⟩,   q ← max(q, floor) where p > 0, else 0, normalized
//
// p, x, result: (R, N, W), the simplex along N; s = factor · scale, scale (R, W) may be null. One thread per column;
// between its passes a column waits in the result, in the cache. Least traffic per column, in reals: 3N, 1 more with a
// scale.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
geodesic_kernel(const REAL* __restrict__ p, const REAL* __restrict__ x, const REAL* __restrict__ scale,
                const REAL factor, const REAL bound, const REAL floor, REAL* __restrict__ result,
                const int count, const int height, const int width)
{
    const Pixel i = thread_pixel(1, height, width);
    if (!i.inside()) return;
    const INDEX column = i.at(count);
    const REAL rate = scale ? factor * scale[i.at(1)] : factor;
    REAL mean = 0, total = 0, kept = 0;
    for (int o = 0; o < count; ++o) mean += p[column + o * width] * x[column + o * width];
    for (int o = 0; o < count; ++o) {
        const INDEX here = column + o * width;
        const REAL step = rate * (x[here] - mean), cut = step > bound ? bound : step < -bound ? -bound : step;
        const REAL moved = p[here] * exp(cut);
        result[here] = moved;
        total += moved;
    }
    for (int o = 0; o < count; ++o) {
        const INDEX here = column + o * width;
        const REAL share = result[here] / total, held = p[here] > 0 ? (share > floor ? share : floor) : 0;
        result[here] = held;
        kept += held;
    }
    for (int o = 0; o < count; ++o) result[column + o * width] /= kept;
}
