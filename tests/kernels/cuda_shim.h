// Runs CUDA text on the CPU: one std::thread per thread of a block, which walks through the blocks with the others.
// A barrier is a std::barrier, shared memory is static, and the sanitizers watch every access.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static
#define __syncthreads() shim_barrier.arrive_and_wait()

struct Index3 { unsigned int x, y, z; };
static thread_local Index3 threadIdx, blockIdx;
static Index3 gridDim;
static std::barrier<> shim_barrier(BLOCK_X * BLOCK_Y);
using std::exp, std::max, std::min;

// As cuLaunchKernel: arguments[i] points to the value of parameter i.
template <class... Parameters, std::size_t... I>
static void shim_run(void (*kernel)(Parameters...), unsigned int blocks, unsigned int images, void** arguments,
                     std::index_sequence<I...>)
{
    gridDim = {blocks, images, 1};
    std::vector<std::thread> threads;
    for (unsigned int t = 0; t < BLOCK_X * BLOCK_Y; ++t) {
        threads.emplace_back([=] {
            threadIdx = {t % BLOCK_X, t / BLOCK_X, 0};
            for (unsigned int b = 0; b < blocks * images; ++b) {
                blockIdx = {b % blocks, b / blocks, 0};
                kernel(*static_cast<std::remove_cv_t<Parameters>*>(arguments[I])...);
                __syncthreads();  // the next block takes over the shared memory
            }
        });
    }
    for (auto& thread : threads) thread.join();
}

template <class... Parameters>
static void shim_launch(void (*kernel)(Parameters...), unsigned int blocks, unsigned int images, void** arguments)
{
    shim_run(kernel, blocks, images, arguments, std::index_sequence_for<Parameters...>());
}

#define SHIM_ENTRY(kernel) \
    extern "C" void launch_##kernel(unsigned int blocks, unsigned int images, void** arguments) \
    { \
        shim_launch(kernel, blocks, images, arguments); \
    }
