"""The simulated GPU does what CUDA allows and refuses what it forbids."""

from __future__ import annotations

import numpy as np
import pytest

simulation = pytest.importorskip("cuda_simulation", reason="the GPU is a real one")
cupy = pytest.importorskip("cupy")

SCALE = """
extern "C" __global__ void __launch_bounds__(64)
scale(const float* __restrict__ x, const float factor, float* __restrict__ y, const long long n)
{
    const long long i = blockIdx.x * 64ll + threadIdx.x;
    if (i < n) y[i] = factor * x[i];
}
extern "C" __global__ void reversed(const float* x, float* y)
{
    __shared__ float held[64];
    held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = held[63 - threadIdx.x];
}
"""


@pytest.fixture(autouse=True)
def settled():
    """Leave no faults to other tests."""
    yield
    simulation.settle()


@pytest.fixture(scope="module")
def module():
    return cupy.RawModule(code=SCALE, options=("-std=c++17",), backend="nvrtc")


def test_kernels_run_and_their_threads_meet_at_barriers(module):
    x, y = cupy.arange(64, dtype=np.float32), cupy.empty(64, np.float32)
    module.get_function("scale")((1,), (64,), (x, np.float32(2), y, np.int64(64)))
    assert y.get().tolist() == list(range(0, 128, 2))
    reverse = module.get_function("reversed")
    reverse((1,), (64,), (x, y))
    assert y.get().tolist() == list(range(63, -1, -1))
    assert reverse.shared_size_bytes == 256
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        module.get_function("nothing")


def test_arguments_of_a_launch_are_those_of_the_kernel(module):
    scale, x, y = module.get_function("scale"), cupy.ones(64, np.float32), cupy.empty(64, np.float32)
    two, n, other = np.float32(2), np.int64(64), cupy.empty(64, np.float64)
    odd = cupy.cuda.MemoryPointer(x.data.mem, 2)
    for arguments, said in (
        ((x, two, y), "3 arguments for 4"), ((x, two, y, np.int32(64)), "argument 3 has 4 bytes"),
        ((x, 2.0, y, n), "argument 1 has 8 bytes"), ((x, np.int32(2), y, n), "argument 1 is int32"),
        ((x, two, other, n), "argument 2 is an array of float64"), ((n, two, y, n), "argument 0 is a number"),
        ((x, two, y, x), "argument 3 is an address"), ((odd, two, y, n), "not aligned to 4"),
    ):  # fmt: skip
        with pytest.raises(simulation.DeviceFault, match=said):
            scale((1,), (64,), arguments)
    with pytest.raises(simulation.DeviceFault, match="up to 64 threads"):
        scale((1,), (65,), (x, two, y, n))
    with pytest.raises(simulation.DeviceFault, match="grid"):
        scale((1, 65536), (64,), (x, two, y, n))
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy.ndarray'>"):
        scale((1,), (64,), (np.ones(64, np.float32), two, y, n))
    assert simulation.memory.allocation(x.data.ptr)[0] == x.data.mem.ptr
    # numbers of an array that is long enough: what lies behind a short one may be what lies behind y
    scale((3,), (64,), (cupy.ones(192, np.float32), two, y, np.int64(192)))
    with pytest.raises(simulation.DeviceFault, match="past the end"):
        cupy.cuda.get_current_stream().synchronize()


def test_shared_memory_of_a_block_is_limited(module):
    large = SCALE.replace("held[64]", "held[12289]")
    x, y = cupy.ones(64, np.float32), cupy.empty(64, np.float32)
    with pytest.raises(simulation.DeviceFault, match="49156 bytes of shared memory"):
        cupy.RawModule(code=large).get_function("reversed")((1,), (64,), (x, y))
    with pytest.raises(simulation.DeviceFault, match="bytes of shared memory"):
        module.get_function("reversed")((1,), (64,), (x, y), shared_mem=49000)


def test_text_that_does_not_compile_is_an_error():
    with pytest.raises(Exception, match="undeclared"):
        cupy.RawModule(code='extern "C" __global__ void k() { undeclared; }').compile()


def test_work_is_done_when_the_host_waits_for_it():
    x = cupy.full(5, 2.0)
    early = (x + 1).get(blocking=False)
    assert np.isnan(early).all()
    event = cupy.cuda.Event()
    event.record()
    assert not event.done
    event.synchronize()
    assert early.tolist() == [3] * 5
    assert event.done


def other_stream(waits: bool) -> float:
    """One number that a stream reads from another."""
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    with first:
        x = cupy.full(3, 5.0)
    with second:
        if waits:
            second.wait_event(first.record())
        return float((x + 1)[0])


def test_streams_go_ahead_of_each_other():
    assert np.isnan(other_stream(False))
    assert other_stream(True) == 6
    found = set()
    for seed in range(20):
        with simulation.shuffled(seed):
            assert other_stream(True) == 6
            found.add(str(other_stream(False)))
    assert found == {"nan", "6.0"}


def test_the_default_stream_waits_for_blocking_streams_and_they_for_it():
    stream = cupy.cuda.Stream()
    with stream:
        x = cupy.full(3, 5.0)
    y = x + 1
    with stream:
        z = y + 1
        assert float(z[0]) == 7
    assert float(y[0]) == 6


def test_freed_memory_is_poisoned_and_handed_out_again():
    x = cupy.ones(100)
    address = x.data.ptr
    del x
    y = cupy.empty(100)
    assert y.data.ptr == address
    assert np.isnan(y.get()).all()
    view = y._view
    del y
    cupy.cuda.Device().synchronize()
    view[...] = 3  # a kernel that still holds the address
    z = cupy.empty(100)
    with pytest.raises(simulation.DeviceFault, match="written after it was freed"):
        z.get()


def test_memory_is_limited():
    free, total = cupy.cuda.runtime.memGetInfo()
    assert 0 < free <= total
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    with simulation.limited(2**20):
        assert cupy.cuda.runtime.memGetInfo()[0] == 2**20
        held = cupy.empty(2**19, np.uint8)
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 1,048,576 bytes"):
            cupy.empty(2**20, np.uint8)
        del held
        held = cupy.empty(2**20, np.uint8)  # what is free in the pool is given back first
        with pytest.raises(MemoryError):
            cupy.empty(1)
    used = pool.used_bytes()
    del held
    assert used - pool.used_bytes() == 2**20
    pool.free_all_blocks()
    assert pool.free_bytes() == 0


def test_a_graph_runs_again_on_the_addresses_it_saw():
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    x = cupy.zeros(4)
    cupy.cuda.Device().synchronize()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        assert stream.is_capturing()
        y = 2 * x + 1
        graph = stream.end_capture()
    assert np.isnan(y.get()).all()  # recorded, not done
    for value in (1, 2):
        x[...] = value
        cupy.cuda.Device().synchronize()
        graph.launch(stream)
        stream.synchronize()
        assert y.get().tolist() == [2 * value + 1] * 4
    address = x.data.ptr
    del x
    cupy.get_default_memory_pool().free_all_blocks()
    with pytest.raises(Exception, match="no allocation"):
        simulation.memory.allocation(address)
    graph.launch(stream)
    with pytest.raises(simulation.DeviceFault, match="lies in no allocation"):
        stream.synchronize()


def test_a_capture_forbids_what_cuda_forbids():
    stream, x = cupy.cuda.Stream(non_blocking=True), cupy.ones(3)
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.Stream.null.begin_capture()
    refused = cupy.cuda.runtime.CUDARuntimeError
    with stream:
        stream.begin_capture()
        for wrong in (x.get, lambda: float(x[0]), lambda: bool(x[0]), lambda: cupy.asarray([1.0]), lambda: x[x > 0]):
            with pytest.raises(RuntimeError, match="capturing"):
                wrong()
        for wrong in (stream.synchronize, cupy.cuda.Device().synchronize, lambda: stream.done, stream.begin_capture):
            with pytest.raises(refused, match="cudaErrorStreamCaptureUnsupported"):
                wrong()
        stream.end_capture()
        with pytest.raises(refused):
            stream.end_capture()
    blocking = cupy.cuda.Stream()
    with blocking:
        blocking.begin_capture()
    with pytest.raises(refused, match="cudaErrorStreamCaptureImplicit"):
        x + 1
    blocking.end_capture()


def test_events_tell_the_time_between_them():
    first, last, silent = cupy.cuda.Event(), cupy.cuda.Event(), cupy.cuda.Event(disable_timing=True)
    error = cupy.cuda.runtime.CUDARuntimeError
    with pytest.raises(error, match="InvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(first, last)
    first.record()
    cupy.ones(1000).sum()
    last.record()
    silent.record()
    with pytest.raises(error, match="NotReady"):
        cupy.cuda.get_elapsed_time(first, last)
    last.synchronize()
    assert cupy.cuda.get_elapsed_time(first, last) > 0
    with pytest.raises(error):
        cupy.cuda.get_elapsed_time(first, silent)


def test_copies_waits_and_launches_are_counted(module):
    with simulation.counting() as during:
        x = cupy.asarray(np.ones(64, np.float32))
        y = x + x
        module.get_function("scale")((1,), (64,), (x, np.float32(2), y, np.int64(64)))
        float(y[0])
        y.get()
    assert (during.writes, during.written_bytes) == (1, 256)
    assert (during.reads, during.read_bytes) == (2, 260)
    assert during.waits == 2
    assert during.kernels == {"scale": 1}
    assert during.operations == {"add": 1}


def test_arrays_are_those_of_numpy():
    rng = np.random.default_rng(0)
    a = rng.random((3, 4, 5)).astype(np.float32)
    x = cupy.asarray(a)
    for found, expected in (
        (x[1:, ::-1, None], a[1:, ::-1, None]), (x[:, [0, 2]], a[:, [0, 2]]), (x[x > 0.5], a[a > 0.5]),
        (x.T.reshape(5, 12), a.T.reshape(5, 12)), (x.sum(axis=(0, 2)), a.sum(axis=(0, 2))),
        (cupy.where(x > 0.5, x, 0), np.where(a > 0.5, a, np.float32(0))), (-x % 0.3, -a % np.float32(0.3)),
        (cupy.stack([x, x], axis=1), np.stack([a, a], axis=1)), (x @ x.swapaxes(1, 2), a @ a.swapaxes(1, 2)),
        (np.exp(x), np.exp(a)), (cupy.argmax(x, axis=1), a.argmax(axis=1)),
        (1 - x, 1 - a), (x.astype(np.int64), a.astype(np.int64)), (np.float64(2) * x, np.float64(2) * a),
    ):  # fmt: skip
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.get(), expected, rtol=1e-6)
    x[0] = 7
    x[:, 1] += x[:, 2]
    a[0] = 7
    a[:, 1] += a[:, 2]
    np.testing.assert_array_equal(x.get(), a)
    with pytest.raises(TypeError, match="Unsupported type"):
        x[0] = a[0]
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = cupy.ones(3)
    with pytest.raises(TypeError, match="0-d"):
        iter(cupy.ones(()))


def test_ranges_and_properties():
    cupy.cuda.nvtx.RangePush("one")
    cupy.cuda.nvtx.RangePop()
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert properties["name"] == b"Simulated GPU"
    assert properties["totalGlobalMem"] == cupy.cuda.runtime.memGetInfo()[1]
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InvalidDevice"):
        cupy.cuda.Device(1)
