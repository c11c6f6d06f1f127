// Runs the blocks of a grid: the threads of a block one after the other, as fibers where they meet at barriers.
// Their order changes with every stretch between two barriers, so that what needs a barrier and has none shows.
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

struct Index3 { unsigned int x, y, z; };
constexpr unsigned int MOST = 1024;
constexpr size_t STACK = 256 * 1024;

extern "C" {
Index3 threadIdx, blockIdx, blockDim, gridDim;
void* __tls_get_addr(void*);
}

namespace {
typedef void (*Body)(void**);
enum State { WAITING, FINISHED };
struct Fiber {
    jmp_buf at;
    ucontext_t first;
    void* stack;
    bool started;
    State state;
} fibers[MOST];
jmp_buf scheduler;
sigjmp_buf rescue;
pthread_t device;
struct sigaction ordinary;
unsigned int running;
Body body;
void** arguments;
unsigned int dice;

unsigned int roll()
{
    dice ^= dice << 13;
    dice ^= dice >> 17;
    return dice ^= dice << 5;
}

void give_back()
{
    if (!_setjmp(fibers[running].at)) _longjmp(scheduler, 1);
}

void live()
{
    for (;;) {
        body(arguments);
        fibers[running].state = FINISHED;
        give_back();
    }
}

void resume(unsigned int t)
{
    Fiber& fiber = fibers[t];
    running = t;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    getcontext(&fiber.first);
    if (!fiber.stack)
        fiber.stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    fiber.first.uc_stack.ss_sp = fiber.stack;
    fiber.first.uc_stack.ss_size = STACK;
    makecontext(&fiber.first, live, 0);
    setcontext(&fiber.first);
}

// An address of no memory at all: give the grid up.
void fault(int)
{
    if (pthread_equal(pthread_self(), device)) siglongjmp(rescue, 1);
    sigaction(SIGSEGV, &ordinary, nullptr);
}

Index3 place(unsigned int t) { return {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y}; }

struct Segment { const void* inside; size_t module, size; };

int find(dl_phdr_info* info, size_t, void* out)
{
    Segment& segment = *static_cast<Segment*>(out);
    size_t size = 0;
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        const size_t start = info->dlpi_addr + header.p_vaddr, at = reinterpret_cast<size_t>(segment.inside);
        if (header.p_type == PT_TLS) size = header.p_memsz;
        if (header.p_type == PT_LOAD && at >= start && at < start + header.p_memsz) here = true;
    }
    if (!here) return 0;
    segment.module = info->dlpi_tls_modid;
    segment.size = size;
    return 1;
}
}  // namespace

extern "C" void simulated_barrier() { give_back(); }

// Bytes of shared memory of the module of a kernel, and what to give to `run` for it.
extern "C" size_t shared_memory(const void* kernel, size_t* module)
{
    Segment segment{kernel, 0, 0};
    dl_iterate_phdr(find, &segment);
    *module = segment.module;
    return segment.size;
}

static int run_blocks(int barriers, size_t module, size_t shared)
{
    const unsigned int threads = blockDim.x * blockDim.y * blockDim.z;
    const size_t blocks = (size_t)gridDim.x * gridDim.y * gridDim.z, first = roll() % blocks;
    size_t place_of_shared[2] = {module, 0};
    for (size_t i = 0; i < blocks; ++i) {
        const size_t b = (first + i) % blocks;
        blockIdx = {(unsigned int)(b % gridDim.x), (unsigned int)(b / gridDim.x % gridDim.y),
                    (unsigned int)(b / gridDim.x / gridDim.y)};
        if (!barriers) {
            for (unsigned int t = 0; t < threads; ++t) {
                threadIdx = place(t);
                body(arguments);
            }
            continue;
        }
        if (shared) memset(__tls_get_addr(place_of_shared), 0x7f, shared);
        for (unsigned int t = 0; t < threads; ++t) fibers[t].state = WAITING;
        for (;;) {
            const unsigned int start = roll() % threads, step = roll() & 4096 ? 1 : threads - 1;
            unsigned int finished = 0;
            for (unsigned int k = 0, t = start; k < threads; ++k, t = (t + step) % threads) {
                threadIdx = place(t);
                if (fibers[t].state != FINISHED) resume(t);
                finished += fibers[t].state == FINISHED;
            }
            if (finished == threads) break;
            if (finished) return 1;
        }
    }
    return 0;
}

// 0; 1 where a barrier was not reached by all threads of a block; 2 where an address was read or written that has no
// memory.
extern "C" int run(Body kernel, void** values, const unsigned int* grid, const unsigned int* block, int barriers,
                   size_t module, size_t shared, unsigned int seed)
{
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = kernel;
    arguments = values;
    dice = seed | 1;
    device = pthread_self();
    struct sigaction ours = {};
    ours.sa_handler = fault;
    sigaction(SIGSEGV, &ours, &ordinary);
    volatile int status = 2;
    if (!sigsetjmp(rescue, 1)) status = run_blocks(barriers, module, shared);
    sigaction(SIGSEGV, &ordinary, nullptr);
    if (status) {
        for (Fiber& fiber : fibers) fiber.started = false;
    }
    return status;
}
