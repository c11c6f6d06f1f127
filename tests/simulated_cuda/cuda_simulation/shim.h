// As much of CUDA C++ as the .cu files use, for g++: a thread of a block is a fiber of runtime.cpp, shared memory is
// thread_local, so that its size is that of a segment, and every kernel tells the types of its parameters.
typedef unsigned long size_t;
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static thread_local
#define __syncthreads() simulated_barrier()

struct Index3 { unsigned int x, y, z; };
extern "C" Index3 threadIdx, blockIdx, blockDim, gridDim;
extern "C" void simulated_barrier();

inline float exp(float x) { return __builtin_expf(x); }
inline double exp(double x) { return __builtin_exp(x); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline double sqrt(double x) { return __builtin_sqrt(x); }
template <class T> constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T> constexpr T max(T a, T b) { return a < b ? b : a; }

namespace simulated {
// size and alignment of a parameter; of what it points to, or 0; whether that may be written; kind: 'f', 'i' or 'u'.
struct Parameter { unsigned int size, alignment, pointee, pointee_alignment, written, kind; };
template <class T> struct Kind { static constexpr unsigned int value = T(-1) < T(0) ? 'i' : 'u'; };
template <> struct Kind<float> { static constexpr unsigned int value = 'f'; };
template <> struct Kind<double> { static constexpr unsigned int value = 'f'; };
template <class T> struct Of { static constexpr Parameter value{sizeof(T), alignof(T), 0, 0, 0, Kind<T>::value}; };
template <class T> struct Of<T*> {
    static constexpr Parameter value{sizeof(T*), alignof(T*), sizeof(T), alignof(T), 1, Kind<T>::value};
};
template <class T> struct Of<const T*> {
    static constexpr Parameter value{sizeof(T*), alignof(T*), sizeof(T), alignof(T), 0, Kind<T>::value};
};
template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<T* __restrict> { typedef T* type; };

template <int... I> struct Places {};
template <class... P, int... I> inline void call(void (*kernel)(P...), void** arguments, Places<I...>)
{
    kernel(*static_cast<typename Plain<P>::type*>(arguments[I])...);
}
template <class... P> inline void call(void (*kernel)(P...), void** arguments)
{
    call(kernel, arguments, Places<__integer_pack(sizeof...(P))...>());
}
template <class... P> inline int describe(void (*)(P...), Parameter* out)
{
    const Parameter all[] = {Of<typename Plain<P>::type>::value...};
    for (unsigned int i = 0; i < sizeof...(P); ++i) out[i] = all[i];
    return sizeof...(P);
}
}  // namespace simulated

#define SIMULATED_ENTRY(kernel, bound, ...) \
    extern "C" void call_##kernel(void** arguments) { simulated::call(kernel, arguments); } \
    extern "C" int describe_##kernel(simulated::Parameter* out) { return simulated::describe(kernel, out); } \
    extern "C" int bound_##kernel() { return bound; }
