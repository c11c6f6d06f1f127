"""Faults of device code, planted one at a time in gpulaf, that the simulated GPU has to find."""

from __future__ import annotations

import gc
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpulaf.kernels import _cuda, agreement, combination
from gpulaf.kernels import adjoint as adjoint_kernel
from gpulaf.kernels import operator as operator_kernel
from oracles import random_problem, relative

from gpulaf import RiemannianAdam
from gpulaf.backend.array import host_array
from gpulaf.learning import cuda_graph

simulation = pytest.importorskip("cuda_simulation", reason="the GPU is a real one")

#: What a planted fault is found by: the device refuses, or numbers are wrong.
FOUND = (AssertionError, simulation.DeviceFault, RuntimeError, UserWarning)


@pytest.fixture(autouse=True)
def settled():
    """Leave no faults to other tests."""
    yield
    simulation.settle()


def mutant(module: ModuleType, replaced: dict[str, str]) -> ModuleType:
    """A module with parts of its text replaced."""
    text = Path(module.__file__).read_text(encoding="utf-8")
    for before, after in replaced.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    made = ModuleType(module.__name__)
    made.__package__, made.__file__ = module.__package__, module.__file__
    exec(compile(text, module.__file__, "exec"), made.__dict__)
    return made


def check_captured_steps(module: Any, steps: int = 4) -> None:
    """Recorded steps, with other work in between, give the numbers of the steps on the host."""
    import cupy

    problem, dtype, descent = random_problem(3, 8, 9), np.dtype("float32"), RiemannianAdam(0.1)
    l, start = problem.log_likelihood.astype(dtype), problem.weights.astype(dtype)
    plain = cuda_graph.FixedStep(l, problem.truth.astype(np.int32), 3.0, 8, descent)
    there = cupy.asarray(start)
    step = module.FixedStep(cupy.asarray(l), cupy.asarray(problem.truth.astype(np.int32)), 3.0, 8, descent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that could not be recorded says so
        captured = module.CapturedStep(step, there, descent.start(there))
    gc.collect()
    weights, state = start, descent.start(start)
    for k in range(steps):
        cupy.get_default_memory_pool().free_all_blocks()
        other = [cupy.full(start.shape, 7 + k, dtype) for _ in range(40)]  # takes what memory is free
        row = captured.evaluate(k)
        new, state, numbers = plain(weights, state, descent.corrections(k))
        for found, expected in zip(row, plain.row(numbers), strict=True):
            assert found == pytest.approx(expected, rel=1e-4)
        assert relative(captured.weights, weights) < 1e-5
        captured.advance()
        assert all(bool((x == 7 + k).all()) for x in other)
        weights = new
    assert relative(captured.weights, weights) < 1e-5


STEP_FAULTS = {
    "no wait for the replay": {"            with self._stream:": "            if True:"},
    "no wait for what was written": {"            self._stream.wait_event(present.record())\n": ""},
    "a read inside the step": {"        weights, state = self": "        float(size)\n        weights, state = self"},
    "an upload inside the step": {"        flow = LinearFlow": "        xp.asarray([1.0])\n        flow = LinearFlow"},
    "a pool that is given up": {"self._pool = cupy": "pool = cupy", "self._pool.malloc": "pool.malloc"},
    "memory that others may free": {"cupy.cuda.using_allocator(self._pool.malloc), self._stream": "self._stream"},
    "numbers of the host instead of arrays": {
        "[weights[0, 0, :1].copy() for _ in step": "[float(c) for c in step",
        "            array[...] = value": "            pass",
    },
}  # fmt: skip


def test_recorded_steps_without_a_fault():
    check_captured_steps(cuda_graph)


@pytest.mark.parametrize("seed", range(6))
def test_recorded_steps_in_any_order_of_the_streams(seed):
    with simulation.shuffled(seed):
        check_captured_steps(cuda_graph)


@pytest.mark.parametrize("name", STEP_FAULTS)
def test_a_fault_of_a_recorded_step_is_found(name):
    with pytest.raises(FOUND):
        check_captured_steps(mutant(cuda_graph, STEP_FAULTS[name]))


def check_products() -> None:
    """Products, inner products and combinations on a large and a small image equal the definition."""
    import cupy

    rng = np.random.default_rng(0)
    for height, width in ((3, 4), (19, 70)):
        weights, S, v = (
            rng.random((height, n, width)).astype("float32") / n for n in (9, 3, 3)
        )  # fmt: skip
        moved = [cupy.asarray(x) for x in (weights, S, v)]
        for kernel in (operator_kernel, adjoint_kernel):
            assert relative(kernel.gpu(*moved), kernel.reference(weights, S, v)) < 1e-5
        q, c = rng.random((4, height * width)), rng.random((2, 4))
        assert relative(combination.gpu(c, cupy.asarray(q)), combination.reference(c, q)) < 1e-12
        truth, one = rng.integers(-1, 3, (1, height, width)).astype(np.int32), np.ones(3, "float32")
        found = agreement.gpu(cupy.asarray(v[None]), cupy.asarray(truth), cupy.asarray(one))
        assert relative(found, agreement.reference(v[None], truth, one)) < 1e-5


HOST_FAULTS = {
    "swapped arrays": ("_cuda", "similarity, field, source, field.dtype", "field, similarity, source, field.dtype"),
    "swapped sizes": ("_cuda", "return sizes(labels, height, width, *(", "return sizes(labels, width, height, *("),
    "a result in the wrong place": ("combination", "rows, start, result, *_cuda", "rows, result, start, *_cuda"),
    "int for long long": ("combination", "np.int64(n)", "np.int32(n)"),
    "double for float": ("_cuda", "field.dtype.type(scale)", "np.float64(scale)"),
    "an argument too few": ("combination", "*_cuda.sizes(R, K), np", "*_cuda.sizes(R), np"),
    "sums in the type of the field": ("agreement", "((images, SUMS), v, np.float64)", "((images, SUMS), v)"),
    "too small a grid": ("_cuda", "-(-shape[-1] // BLOCK[0])", "max(1, shape[-1] // BLOCK[0])"),
    "too large a block": ("_cuda", "(*BLOCK, 1)", "(64, 64, 1)"),
}  # fmt: skip


def test_products_without_a_fault():
    check_products()


@pytest.mark.parametrize("name", HOST_FAULTS)
def test_a_fault_of_a_launch_is_found(name, monkeypatch):
    where, before, after = HOST_FAULTS[name]
    original = import_module(f"gpulaf.kernels.{where}")
    changed = mutant(original, {before: after})
    for key, value in vars(changed).items():
        if callable(value) and getattr(value, "__module__", None) == original.__name__:
            monkeypatch.setattr(original, key, value)
    with pytest.raises(FOUND):
        check_products()


_READ = "        if (k.inside())"
_BARRIER = "        __syncthreads();\n"
KERNEL_FAULTS = {
    "no barrier in a reduction": ("agreement", _BARRIER + "        if (t < half)", "        if (t < half)"),
    "no barrier before a tile is read": ("adjoint", _BARRIER + _READ, _READ),
    "a barrier that some leave out": ("adjoint", _BARRIER + _READ, "if (!k.inside()) return;\n" + _BARRIER + _READ),
    "a write past the end": ("combination", "if (at >= n) return;", "if (at > n + 40) return;"),
    "nothing written at the border": ("operator", "if (!p.inside()) return;", "if (!p.inside() || !p.y) return;"),
}


@pytest.mark.parametrize("name", KERNEL_FAULTS)
def test_a_fault_of_a_kernel_is_found(name, monkeypatch):
    kernel, before, after = KERNEL_FAULTS[name]
    source = _cuda.source
    assert before in source(kernel)
    monkeypatch.setattr(_cuda, "source", lambda n: source(n).replace(before, after) if n == kernel else source(n))
    monkeypatch.setattr(_cuda, "function", _cuda.function.__wrapped__)
    monkeypatch.setattr(_cuda, "load", _cuda.load.__wrapped__)
    with pytest.raises(FOUND):
        check_products()


def test_host_arrays_are_not_mixed_with_device_arrays():
    import cupy

    x = cupy.ones(3)
    for wrong in (lambda: np.asarray(x), lambda: x + np.ones(3), lambda: np.ones(3) + x, lambda: np.add(x, np.ones(3))):
        with pytest.raises(TypeError, match=r"Implicit conversion|Unsupported type"):
            wrong()
    assert host_array(x + 1).tolist() == [2, 2, 2]
