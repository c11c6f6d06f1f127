// The derivative of the cosine loss 1 − ⟨v*, v⟩/(‖v*‖‖v‖) from the sums of agreement.cu, which stay on the device.
//
//     ∂f = c_i (⟨v*, v⟩ v / (‖v*‖‖v‖³) − v*/(‖v*‖‖v‖)) at labeled pixels, else 0;   v*_ij = [j = truth(i)] − 1/J
//
// v, result: (B, R, J, W); truth: (B, R, W), −1 where there is none; c_i = class_weights[truth(i)]; sums: (B, 6), those
// of its image to a pixel. One thread per pixel.
// Least traffic per pixel, in reals: 2J + 1.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
cosine_kernel(const REAL* __restrict__ v, const int* __restrict__ truth, const REAL* __restrict__ class_weights,
              const ACCUMULATOR* __restrict__ all_sums, REAL* __restrict__ result,
              const int labels, const int height, const int width)
{
    const Pixel p = thread_pixel(1, height, width);
    if (!p.inside()) return;
    const ACCUMULATOR* sums = all_sums + blockIdx.y * SUMS;
    const ACCUMULATOR share = 1 / ACCUMULATOR(labels);
    const ACCUMULATOR lengths = sqrt(sums[3] * (1 - share) * sums[2]);
    const REAL along = lengths > 0 ? (sums[0] - share * sums[1]) / (lengths * sums[2]) : 0;
    const REAL toward = lengths > 0 ? 1 / lengths : 0;
    const int label = truth[p.at(1)];
    const REAL count = label < 0 || label >= labels ? 0 : class_weights[label];
    for (int j = 0; j < labels; ++j) {
        const INDEX here = p.at(labels) + j * width;
        const REAL target = REAL(j == label) - REAL(share);
        result[here] = count * (along * v[here] - toward * target);
    }
}
