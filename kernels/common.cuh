// What every kernel shares: types, constants, the pixel of a thread, the inside-the-image test, sums over neighbors.
//
// Constants come as -D from _cuda.py:
//   REAL      float or double: the type of every field
//   INDEX     int, or long long where an array has 2 GiB or more
//   RADIUS    radius r of the neighborhood
//   REACH     how many planes above and below it has: 0 for images, RADIUS for volumes
//   LABELS    number of labels J; 0: known at run time only
//   BLOCK_X, BLOCK_Y   threads of a block: a tile of that many pixels, one thread per pixel
//   SHARED    bytes of shared memory for a tile
// Layout, rows of labels: fields (B, D, H, J, W), patches (B, D, H, N, W), x fastest: the numbers of a pixel are a row's
// width apart. An image has D = 1, and its z is left out; blockIdx.y is the image of a batch of B.
#ifndef COMMON_CUH
#define COMMON_CUH

#ifndef RADIUS
#define RADIUS 0
#endif
#ifndef REACH
#define REACH 0
#endif
#ifndef LABELS
#define LABELS 0
#endif

#define UNROLL _Pragma("unroll")

// One loop over the labels: unrolled where their number is a constant.
#if LABELS
#define EACH_LABEL(j) UNROLL for (int j = 0; j < LABELS; ++j)
#else
#define EACH_LABEL(j) for (int j = 0; j < labels; ++j)
#endif

// Sums over the image.
typedef double ACCUMULATOR;

constexpr int SIDE = 2 * RADIUS + 1, PLANES = 2 * REACH + 1, COUNT = PLANES * SIDE * SIDE;
// A patch of at most 200 bytes is held in registers; a larger one would fill them and is read through the L1 cache.
constexpr bool HELD = COUNT * sizeof(REAL) <= 200;
constexpr int THREADS = BLOCK_X * BLOCK_Y;
static_assert((THREADS & (THREADS - 1)) == 0, "reductions halve the block");

// Where the neighbor o lies.
__device__ constexpr int plane_of(int o) { return o / (SIDE * SIDE) - REACH; }
__device__ constexpr int row_of(int o) { return o / SIDE % SIDE - RADIUS; }
__device__ constexpr int column_of(int o) { return o % SIDE - RADIUS; }

__device__ inline int thread_index() { return threadIdx.y * BLOCK_X + threadIdx.x; }

// A tile of an image, tiles row-major on a grid of one dimension: that of the block, where no other is given.
struct Tile {
    int plane, top, left;
    __device__ Tile(int height, int width, unsigned int tile = blockIdx.x)
    {
        const unsigned int across = (width + BLOCK_X - 1) / BLOCK_X, line = tile / across;
        const unsigned int down = REACH ? (height + BLOCK_Y - 1) / BLOCK_Y : 1;
        plane = REACH ? line / down : 0;
        top = (REACH ? line % down : line) * BLOCK_Y;
        left = tile % across * BLOCK_X;
    }
};

// A pixel of the image blockIdx.y.
struct Pixel {
    int z, y, x, depth, height, width;

    // The inside-the-image test of the neighbor at an offset; it holds for (0, 0, 0) where the pixel itself is inside.
    __device__ bool inside(int dz, int dy, int dx) const
    {
        const bool row = !REACH || (unsigned int)(z + dz) < (unsigned int)depth;
        return row && (unsigned int)(y + dy) < (unsigned int)height && (unsigned int)(x + dx) < (unsigned int)width;
    }
    __device__ bool inside() const { return inside(0, 0, 0); }
    // Rows of an image or volume.
    __device__ INDEX rows() const { return REACH ? (INDEX)depth * height : (INDEX)height; }
    // Its index in a field of `count` numbers per pixel, whose images are `apart` rows apart: 0 where they share one.
    __device__ INDEX at(int count, INDEX apart) const
    {
        const INDEX row = REACH ? (INDEX)z * height + y : (INDEX)y;
        return ((INDEX)blockIdx.y * apart + row) * count * width + x;
    }
    __device__ INDEX at(int count) const { return at(count, rows()); }
    // The distance to the neighbor at an offset in such a field.
    __device__ INDEX step(int count, int dz, int dy, int dx) const
    {
        return (INDEX)(count * width) * (REACH ? dz * height + dy : dy) + dx;
    }
};

// The pixel of this thread in a tile; it may lie outside.
__device__ inline Pixel thread_pixel(const Tile& tile, int depth, int height, int width)
{
    return {tile.plane, tile.top + (int)threadIdx.y, tile.left + (int)threadIdx.x, depth, height, width};
}

// The pixel of this thread in the tile of its block.
__device__ inline Pixel thread_pixel(int depth, int height, int width)
{
    return thread_pixel(Tile(height, width), depth, height, width);
}

// Visit the neighbors of a pixel that are inside, row-major: visit(o, distance in a field of `count` numbers a pixel).
template <class Visit> __device__ inline void each_neighbor(const Pixel& p, int count, Visit visit)
{
    UNROLL for (int dz = -REACH; dz <= REACH; ++dz) {
        UNROLL for (int dy = -RADIUS; dy <= RADIUS; ++dy) {
            UNROLL for (int dx = -RADIUS; dx <= RADIUS; ++dx) {
                const int o = ((dz + REACH) * SIDE + dy + RADIUS) * SIDE + dx + RADIUS;
                if (p.inside(dz, dy, dx)) visit(o, p.step(count, dz, dy, dx));
            }
        }
    }
}

// The weights of one pixel, read once for all labels where HELD; those that point outside are never read.
struct Patch {
    REAL w[HELD ? COUNT : 1];
    const REAL* at;
    int width;

    // The images of `weights` are `apart` rows apart.
    __device__ Patch(const Pixel& p, const REAL* __restrict__ weights, int apart)
        : at(weights + p.at(COUNT, apart)), width(p.width)
    {
        if constexpr (HELD) each_neighbor(p, 0, [&](int o, INDEX) { w[o] = at[o * width]; });
    }
    // The weight of a neighbor that is inside.
    __device__ REAL operator[](int o) const
    {
        if constexpr (HELD)
            return w[o];
        else
            return at[o * width];
    }
    // (Ωx)_i of one label among `labels`; `x` points to the pixel.
    __device__ REAL average(const Pixel& p, int labels, const REAL* __restrict__ x) const
    {
        REAL sum = 0;
        each_neighbor(p, labels, [&](int o, INDEX offset) { sum += (*this)[o] * x[offset]; });
        return sum;
    }
};

// Read-only values of one pixel, one per label: held in registers where LABELS is a constant, else read again.
struct Values {
#if LABELS
    REAL value[LABELS];
    __device__ Values(const REAL* __restrict__ field, int width)
    {
        UNROLL for (int j = 0; j < LABELS; ++j) value[j] = field[j * width];
    }
    __device__ REAL operator[](int j) const { return value[j]; }
#else
    const REAL* at;
    int width;
    __device__ Values(const REAL* field, int stride) : at(field), width(stride) {}
    __device__ REAL operator[](int j) const { return at[j * width]; }
#endif
};

// Scratch of one pixel, one number per label: registers where LABELS is a constant, else the thread's own result.
struct Scratch {
#if LABELS
    REAL value[LABELS];
    __device__ Scratch(REAL*, int) {}
    __device__ REAL& operator[](int j) { return value[j]; }
#else
    REAL* at;
    int width;
    __device__ Scratch(REAL* result, int stride) : at(result), width(stride) {}
    __device__ REAL& operator[](int j) { return at[j * width]; }
#endif
};

// Combine M numbers of every thread of a block in one fixed order; thread 0 holds the result.
template <int M, class T, class Combine> __device__ inline void block_reduce(T (&value)[M], Combine combine)
{
    __shared__ T shared[M][THREADS];
    const int t = thread_index();
    UNROLL for (int m = 0; m < M; ++m) shared[m][t] = value[m];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) {
            UNROLL for (int m = 0; m < M; ++m) shared[m][t] = combine(shared[m][t], shared[m][t + half]);
        }
    }
    UNROLL for (int m = 0; m < M; ++m) value[m] = shared[m][t];
}

// Second stage of a reduction: block b adds the numbers partial[b, :] of all blocks of the first one.
__device__ inline void sum_blocks(const ACCUMULATOR* __restrict__ partial, ACCUMULATOR* __restrict__ result, int blocks)
{
    ACCUMULATOR total[1] = {};
    const ACCUMULATOR* mine = partial + (long long)blockIdx.x * blocks;
    for (int b = thread_index(); b < blocks; b += THREADS) total[0] += mine[b];
    block_reduce(total, [](ACCUMULATOR a, ACCUMULATOR b) { return a + b; });
    if (thread_index() == 0) result[blockIdx.x] = total[0];
}

#endif
