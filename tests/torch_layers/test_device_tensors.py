"""Tensors of a GPU, as far as the simulated one goes: stand-ins that hold its arrays, where torch has no such device.

The operators get the arrays by DLPack, work on torch's current stream and copy no field to or from the host. Where
there is a real GPU, its tensors are the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import dense_solution, random_problem, relative, tol

from gpulaf.backend.array import gpu_missing, host_array

torch = pytest.importorskip("torch", reason="needs the extra torch")

from gpulaf.torch import linear_flow, operators, weights_from_logits  # noqa: E402
from gpulaf.torch.arrays import current_stream  # noqa: E402

OPTIONS = (0, 0, 1e-6)
#: Bytes of the numbers that a solution and a gradient may read, none of them a field.
SMALL = 100


class DeviceTensor:
    """What the operators ask of a tensor on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, tuple(array.shape)

    def detach(self) -> DeviceTensor:
        return self

    def clone(self) -> DeviceTensor:
        return DeviceTensor(self.array.copy())

    def sum(self, axis: int, keepdim: bool) -> DeviceTensor:
        return DeviceTensor(self.array.sum(axis=axis, keepdims=keepdim))

    def new_empty(self, size: int) -> None:
        return None


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Torch's current stream, another one than CuPy's; DLPack between stand-ins and arrays of the simulation."""
    pytest.importorskip("cuda_simulation", reason="the GPU is a real one")
    if missing := gpu_missing():
        pytest.skip(missing)
    import cupy

    own = cupy.cuda.Stream(non_blocking=True)

    class Current:
        cuda_stream = own.ptr

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Current())
    monkeypatch.setattr(torch, "from_dlpack", DeviceTensor)
    monkeypatch.setattr(cupy, "from_dlpack", lambda tensor: tensor.array)
    yield own
    cupy.cuda.runtime.deviceSynchronize()


def operands(dtype: Any, stream: Any, *, images: int = 2, shared: bool = False) -> tuple[Any, Any, Any]:
    """Weights, ℓ and g on the device."""
    import cupy

    problems = [random_problem(labels=4, height=9, width=40, seed=seed) for seed in range(images)]
    names = ("weights", "log_likelihood", "g")
    stacks = [np.stack([getattr(p, name) for p in problems]).astype(dtype) for name in names]
    stacks[0] = stacks[0][:1] if shared else stacks[0]
    with stream:
        return tuple(DeviceTensor(cupy.asarray(x)) for x in stacks)


@pytest.mark.parametrize("shared", [False, True])
def test_the_operators_on_a_device(dtype: Any, stream: Any, shared: bool) -> None:
    weights, l, g = operands(dtype, stream, shared=shared)
    T = torch.tensor(3.0, dtype=torch.float64)
    v = operators.flow_solution(weights, l, T, *OPTIONS)
    in_weights, in_data, in_time = operators.flow_gradient(weights, l, T, v, g, True, *OPTIONS)
    stream.synchronize()  # nothing else waits for it
    host = [torch.from_numpy(host_array(x.array)) for x in (weights, l, g)]
    expected = operators.flow_solution(*host[:2], T, *OPTIONS)
    gradients = operators.flow_gradient(*host[:2], T, expected, host[2], True, *OPTIONS)
    assert relative(v.array, expected.numpy()) < tol(dtype)
    assert relative(in_weights.array, gradients[0].numpy()) < tol(dtype)
    assert relative(in_data.array, gradients[1].numpy()) < tol(dtype)
    assert float(in_time) == pytest.approx(float(gradients[2]), rel=1e-4)


def test_solutions_on_a_device_are_those_of_the_dense_exponential(stream: Any) -> None:
    small = random_problem(labels=2, height=3, width=4)
    import cupy

    with stream:
        weights, l = (DeviceTensor(cupy.asarray(x[None])) for x in (small.weights, small.log_likelihood))
    v = operators.flow_solution(weights, l, torch.tensor(3.0), 0, 0, 1e-12)
    stream.synchronize()
    assert relative(v.array[0], dense_solution(small, 3.0)) < 1e-11


def test_no_field_crosses_the_bus_and_work_is_on_the_stream_of_torch(stream: Any) -> None:
    import cupy
    from cuda_simulation import counting

    weights, l, g = operands(np.float32, stream)
    T = torch.tensor(3.0)
    seen = []
    original = cupy.cuda.Stream.use

    def use(self: Any) -> Any:
        seen.append(self.ptr)
        return original(self)

    before = cupy.cuda.get_current_stream()
    with counting() as during, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy.cuda.Stream, "use", use)
        v = operators.flow_solution(weights, l, T, *OPTIONS)
        assert during.waits == during.reads == 0
        operators.flow_gradient(weights, l, T, None, g, True, *OPTIONS)
    assert during.reads == 0
    assert during.read_bytes + during.written_bytes <= SMALL
    assert during.waits == 0
    assert stream.ptr in seen
    assert cupy.cuda.get_current_stream() == before
    assert not stream.done  # what was queued there is still to be done
    assert v.array.shape == l.shape


def test_without_cupy_the_error_says_what_to_install(without_cupy: None) -> None:
    class Foreign:
        device = torch.device("cuda", 0)

    words = r"tensors on cuda:0 are worked on by CuPy: CuPy is not installed\. Install"
    with pytest.raises(RuntimeError, match=words), current_stream(Foreign()):
        pass


@pytest.mark.skipif(not torch.cuda.is_available() or bool(gpu_missing()), reason="needs a GPU, torch for it, and CuPy")
def test_tensors_of_a_gpu() -> None:
    logits, l = torch.randn(2, 9, 20, 30), torch.randn(2, 3, 20, 30)
    found = []
    for device in ("cpu", "cuda"):
        z, x = (t.to(device, torch.float64).requires_grad_() for t in (logits, l))
        v = linear_flow(weights_from_logits(z), x, 3.0)
        assert v.device.type == device
        v.pow(3).sum().backward()
        found.append([t.detach().cpu().numpy() for t in (v, z.grad, x.grad)])
    for mine, host in zip(*found, strict=True):
        assert relative(mine, host) < 1e-10
