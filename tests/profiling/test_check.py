"""Checks of a machine: they pass where all is well, and name the kernel that gives a wrong result."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from gpulaf.kernels import _cuda

from gpulaf import kernels
from gpulaf.backend.array import gpu_missing, is_device_array
from gpulaf.profiling import cases, check
from gpulaf.profiling.cases import KERNELS, SIZES, Size

#: What is left of the sizes on a GPU, where kernels are compiled for each: an image, a batch, a volume.
FEW = [Size((19, 70)), Size((9, 41), images=3, shared=True), Size((5, 9, 41))]


@pytest.fixture(params=["cpu", "gpu"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "gpu":
        if missing := gpu_missing():
            pytest.skip(missing)
        monkeypatch.setattr(cases, "SIZES", FEW)
    return request.param


def one_entry_off(result: Any) -> Any:
    """One entry a thousandth of the largest off."""
    first = result[0] if isinstance(result, tuple) else result
    if first is None:
        first = result[1]
    flat = first.reshape(-1)
    flat[-1:] += 1e-3 * abs(first).max()
    return result


def replaced(monkeypatch: pytest.MonkeyPatch, kernel: str, device: str, change: Any) -> None:
    """Let an implementation on a device give ``change(result)``."""
    module = import_module(f"gpulaf.kernels.{kernel}")
    name = "cpu" if device == "cpu" else "gpu" if hasattr(module, "gpu") else "reference"
    function = getattr(module, name)

    def changed(*operands: Any, **options: Any) -> Any:
        result = function(*operands, **options)
        given = [x for x in operands if hasattr(x, "shape")]
        return result if device == "gpu" and not any(map(is_device_array, given)) else change(result)

    monkeypatch.setattr(module, name, changed)


def test_every_kernel_has_cases() -> None:
    modules = (import_module(f"gpulaf.kernels.{info.name}") for info in pkgutil.iter_modules(kernels.__path__))
    assert set(KERNELS) == {module.__name__.rsplit(".", 1)[1] for module in modules if hasattr(module, "reference")}


def test_sizes_are_odd_and_of_every_kind() -> None:
    assert {len(size.shape) for size in SIZES} == {2, 3}
    assert {size.radius for size in SIZES} == {1, 2}
    batches = {(len(size.shape), size.shared) for size in SIZES if size.images}
    assert batches == {(2, False), (2, True), (3, False), (3, True)}
    assert all(size.radius == 1 for size in SIZES if len(size.shape) > 2)  # the most that a GPU takes


def test_every_kernel_passes(device: str) -> None:
    found = list(check.check_kernels(device))
    assert [row.name for row in found] == list(KERNELS)
    for row in found:
        assert row.failure == ""
        assert 0 <= row.error < 0.5, row
        assert row.cases >= 4
    assert {row.how for row in found} == ({"Numba"} if device == "cpu" else {"CUDA", "array API"})


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_wrong_entry_is_found(kernel: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, kernel, device, one_entry_off)
    found = check.check_kernel(kernel, device)
    assert found.error > 1
    assert found.failure.startswith("error ")
    assert "tolerance at float32, " in found.failure


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that plants an error in the text of CUDA kernels; what was compiled from it is forgotten."""

    def forget() -> None:
        for kept in (_cuda.load, _cuda.function):
            kept.cache_clear()

    def plant(before: str, after: str) -> None:
        source = _cuda.source
        monkeypatch.setattr(_cuda, "source", lambda name: source(name).replace(before, after))
        forget()

    yield plant
    monkeypatch.undo()
    forget()


@pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))
def test_errors_in_the_text_of_a_cuda_kernel_are_found(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "SIZES", FEW[:1])
    mutant("s[j] * (x[j] - dot)", "s[j] * (x[j] + dot)")
    found = {kernel: check.check_kernel(kernel, "gpu") for kernel in ("operator", "chain", "similarity")}
    assert found["operator"].error > 1
    assert found["operator"].failure.startswith("error ")
    assert found["chain"].failure.startswith("error ")
    assert found["similarity"].failure == ""
    mutant("s[j] * (x[j] + dot)", "s[j] ** (x[j] - dot)")
    broken = check.check_kernel("operator", "gpu")
    assert broken.cases == 1
    assert "error" in broken.failure
    assert len(broken.failure) < 300


def test_numbers_that_are_none_and_other_shapes_are_errors(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "geodesic", device, lambda x: x * np.nan)
    replaced(monkeypatch, "operator", device, lambda x: x[..., :-1])
    for kernel in ("geodesic", "operator"):
        found = check.check_kernel(kernel, device)
        assert found.error == np.inf
        assert found.failure.startswith("error inf × the tolerance at float32, ")


def test_results_that_do_not_repeat_are_found(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    replaced(monkeypatch, "moments", device, lambda x: (x[0], x[1] * (1 + 1e-6 * (len(calls) % 2))))
    replaced(monkeypatch, "geodesic", device, lambda x: (calls.append(1), x * (1 + 1e-6 * (len(calls) % 2)))[1])
    found = check.check_kernel("geodesic", device)
    assert found.error > 0
    assert found.failure.startswith("other bits in a second run at float32, ")


def test_an_error_is_a_finding_in_one_line(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(result: Any) -> Any:
        raise RuntimeError("2 messages\n\ncommon.cuh(3): error:  identifier\n" + "x" * 500)

    replaced(monkeypatch, "adjoint", device, broken)
    found = check.check_kernel("adjoint", device)
    assert found.failure.startswith("RuntimeError: common.cuh(3): error: identifier at float32, ")
    assert found.cases == 1
    assert len(found.failure) < 250


def test_steps_of_a_fit_pass(device: str) -> None:
    found = list(check.check_fit(device))
    assert [row.failure for row in found] == [""] * len(found)
    assert [row.name for row in found if row.how == "kernel by kernel"] == ["5 steps, float32", "5 steps, float64"]
    assert len([row for row in found if row.how == "recorded"]) == 2 * (device == "gpu")
    assert all(row.error < 0.5 for row in found)


def test_a_driver_that_does_not_record_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := gpu_missing():
        pytest.skip(missing)
    import cupy

    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("no capture here")

    monkeypatch.setattr(cupy.cuda.Stream, "begin_capture", refused)
    plain, recorded, *_ = check.check_fit("gpu")
    assert plain.failure == ""
    assert recorded.failure.startswith("UserWarning: the step is not recorded as a CUDA graph")


@pytest.mark.parametrize("kernel", ["similarity", "chain", "cosine", "geodesic", "moments"])
def test_a_wrong_kernel_shows_in_the_steps(kernel: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(result: Any) -> Any:
        for part in result if isinstance(result, tuple) else (result,):
            if part is not None:
                part.reshape(-1)[::3] *= 1.01
        return result

    replaced(monkeypatch, kernel, device, off)
    for row in check.check_fit(device):
        assert row.failure.startswith("error ")
        assert row.error > 1


def test_speeds_are_those_of_the_fields(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIDE", {"cpu": 32, "gpu": 32})
    monkeypatch.setattr(check, "LARGEST_COPY", 2**16)
    rows = {row.name: row for row in check.speeds(device, repeats=2)}
    steps = ["step"] if device == "cpu" else ["step, kernel by kernel", "step, recorded"]
    assert list(rows) == ["copy", "operator", "∂Ω", *steps]
    assert rows["copy"].bandwidth > 0
    operator = rows["operator"]
    assert operator.bandwidth == pytest.approx((3 * check.LABELS + 9) * 32 * 32 * 4 / operator.seconds)
    assert operator.share > 0
    assert all(rows[name].seconds > 0 for name in ("∂Ω", *steps))
