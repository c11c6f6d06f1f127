// y = s·source + Ωᵀ R_S u: one product with the transpose of A, in gather form, one pass.
//
//     y_k = s source_k + Σ_o ω_o[k − o] z[k − o],   z_i = S_i ∘ (u_i − ⟨S_i, u_i⟩)
//
// u, S, source, y: (B, D, H, J, W); Ω: (B, D, H, N, W), or one for all images: `apart` rows from one image to the next.
// REPLICATE 0: z = u, S is not read. source may be null.
// One thread per pixel. The weights that look at it stay in registers for all labels; z of the tile and its halo, for a
// volume in the planes above and below, too, lies in shared memory, as many labels at a time as fit.
// Least traffic per pixel, in reals: 3J + N, and J more with a source.
#include "common.cuh"

constexpr int TILE_X = BLOCK_X + 2 * RADIUS, TILE_Y = BLOCK_Y + 2 * RADIUS;
constexpr int AREA = TILE_X * TILE_Y, TILE = PLANES * AREA;
constexpr int FIT = SHARED / (TILE * (int)sizeof(REAL)) - 1;  // planes of a tile that fit, less one for ⟨S, u⟩
constexpr int CHUNK = LABELS && LABELS <= FIT ? LABELS : FIT < 8 ? FIT : 8;
// Left alone, the compiler takes registers in double precision that leave room for three blocks where four fit.
constexpr int BLOCKS = REPLICATE && COUNT == 9 && sizeof(REAL) == 8 && LABELS > 4 && sizeof(INDEX) == 4 ? 4 : 0;
static_assert(CHUNK > 0, "the tile of one label fits");

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
adjoint_kernel(const REAL* __restrict__ weights, const REAL* __restrict__ similarity, const REAL* __restrict__ field,
               const REAL* __restrict__ source, const REAL scale, REAL* __restrict__ result,
               const int apart, const int run_time_labels, const int height, const int width, const int depth)
{
    __shared__ REAL z[CHUNK][TILE], dots[TILE];
    const int labels = LABELS ? LABELS : run_time_labels;
    const Tile tile(height, width);
    const Pixel k = thread_pixel(depth, height, width);

    const INDEX patch = k.at(COUNT, apart);
    REAL w[COUNT];
    UNROLL for (int o = 0; o < COUNT; ++o) {
        const int dz = plane_of(o), dy = row_of(o), dx = column_of(o);
        const bool looks = k.inside() && k.inside(-dz, -dy, -dx);
        w[o] = looks ? weights[patch + o * width - k.step(COUNT, dz, dy, dx)] : 0;
    }

    for (int first = 0; first < labels; first += CHUNK) {
        const int count = CHUNK == LABELS ? CHUNK : min(CHUNK, labels - first);
        if (first > 0) __syncthreads();
        for (int t = thread_index(); t < TILE; t += THREADS) {
            const int level = REACH ? t / AREA : 0, row = (t - level * AREA) / TILE_X, column = t % TILE_X;
            const Pixel i{tile.plane + level - REACH, tile.top + row - RADIUS, tile.left + column - RADIUS,
                          depth, height, width};
            if (!i.inside()) {
                for (int j = 0; j < count; ++j) z[j][t] = 0;  // its weights are 0 too
                continue;
            }
            const INDEX here = i.at(labels);
            if (REPLICATE && first == 0) {
                REAL dot = 0;
                EACH_LABEL(j) dot += similarity[here + j * width] * field[here + j * width];
                dots[t] = dot;  // read again by this thread only
            }
            UNROLL for (int j = 0; j < count; ++j) {
                const INDEX at = here + (first + j) * width;
                z[j][t] = REPLICATE ? similarity[at] * (field[at] - dots[t]) : field[at];
            }
        }
        __syncthreads();
        if (k.inside()) {
            REAL* own = result + k.at(labels);
            const REAL* term = source ? source + k.at(labels) : nullptr;
            const int centre = REACH * AREA + (threadIdx.y + RADIUS) * TILE_X + threadIdx.x + RADIUS;
            UNROLL for (int j = 0; j < count; ++j) {
                REAL y = 0;
                UNROLL for (int o = 0; o < COUNT; ++o)
                    y += w[o] * z[j][centre - plane_of(o) * AREA - row_of(o) * TILE_X - column_of(o)];
                const INDEX at = (first + j) * width;
                own[at] = term ? scale * term[at] + y : y;
            }
        }
    }
}
