"""The memory estimate against what NumPy hands out, and the refusal of what cannot fit."""

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

from gpulaf import (
    DormandPrince,
    Euler,
    GeometricEuler,
    Krylov,
    Labeler,
    LinearizedFlows,
    Taylor,
    Uncertainty,
    fit_weights,
    label,
    refine,
    uniform_weights,
)
from gpulaf.averaging import BilateralWeights
from gpulaf.backend import memory, memory_estimate
from gpulaf.learning import FitOptions

QUIET = FitOptions(progress=False)
SCHEMES = [
    GeometricEuler(1.0), DormandPrince(), LinearizedFlows(), LinearizedFlows(length=1.0),
    LinearizedFlows(solver=Krylov(10)), LinearizedFlows(solver=Euler(20)),
]  # fmt: skip


def peak_of(run):
    """Bytes that a run takes at once; what is compiled and imported by it does not count."""
    run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("integrator", [Krylov(), Krylov(10), Taylor(), Taylor(12), Euler(20)], ids=str)
@pytest.mark.parametrize("time", [3.0, 8.0])
@pytest.mark.parametrize(("labels", "dtype"), [(2, "float32"), (8, "float64")])
@pytest.mark.parametrize("learn", [False, True])
def test_estimate_is_above_the_peak_and_not_far(integrator, time, labels, dtype, learn):
    side, rng = 144, np.random.default_rng(0)
    image, prototypes = rng.random((side, side)).astype(dtype), np.linspace(0, 1, labels)
    l = -10 * np.abs(image[:, None] - prototypes[:, None]).astype(dtype)
    truth = rng.integers(0, labels, (side, side))

    def run():
        if learn:
            fit_weights(l, truth, steps=2, solver=integrator, time=time, options=QUIET)
        else:
            label(image, prototypes, solver=integrator, time=time)

    peak = peak_of(run) + (l if learn else image).nbytes
    estimate = memory_estimate((side, side), labels, solver=integrator, times=(time,), learn=learn, dtype=dtype)
    assert 0.97 < estimate / peak < 1.75


@pytest.mark.parametrize("integrator", [Krylov(10), Taylor(), Euler(20)], ids=str)
@pytest.mark.parametrize(("labels", "dtype"), [(2, "float32"), (8, "float64")])
@pytest.mark.parametrize("learn", [False, True])
def test_estimate_on_a_gpu(integrator, labels, dtype, learn):
    """Also of a recorded fit, whose graph keeps memory that nothing else gets."""
    simulation = pytest.importorskip("cuda_simulation", reason="the GPU is a real one")
    import cupy

    side, rng = 96, np.random.default_rng(0)
    image, prototypes = cupy.asarray(rng.random((side, side)).astype(dtype)), np.linspace(0, 1, labels)
    l = cupy.asarray(rng.standard_normal((side, labels, side)).astype(dtype))
    truth = cupy.asarray(rng.integers(0, labels, (side, side)))

    def run():
        if learn:
            fit_weights(l, truth, steps=1, solver=integrator, options=QUIET)
        else:
            label(image, prototypes, solver=integrator)

    run()
    cupy.get_default_memory_pool().free_all_blocks()
    with simulation.peak() as peak:
        run()
    options = {"times": (3.0,), "learn": learn, "dtype": dtype, "device": "gpu"}
    estimate = memory_estimate((side, side), labels, solver=integrator, **options)
    given = (l if learn else image).nbytes
    assert 0.97 < estimate / (peak.in_use + given) < 1.8
    if learn and isinstance(integrator, Taylor):  # nobody else may have what the graph reserves
        assert estimate / (peak.reserved + given) > 0.97


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("time", [3.0, 20.0])
@pytest.mark.parametrize(("labels", "dtype"), [(2, "float32"), (8, "float64")])
def test_estimate_of_the_nonlinear_flow(scheme, time, labels, dtype):
    image, prototypes = np.random.default_rng(0).random((144, 144)).astype(dtype), np.linspace(0, 1, labels)
    peak = peak_of(lambda: label(image, prototypes, solver=scheme, time=time)) + image.nbytes
    assert 0.97 < memory_estimate((144, 144), labels, solver=scheme, times=(time,), dtype=dtype) / peak < 1.75


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("block", [1.0, 1e12])
@pytest.mark.parametrize(("labels", "dtype", "channels"), [(2, "float32", 1), (8, "float32", 3), (8, "float64", 3)])
def test_estimate_of_uncertainty(monkeypatch, certified, block, labels, dtype, channels):
    monkeypatch.setattr(memory, "BLOCK", block)
    monkeypatch.setattr(memory, "HALOS", 6)
    rng = np.random.default_rng(0)
    image, prototypes = rng.random((144, 144, channels)).astype(dtype), rng.random((labels, channels))
    labeler = Labeler(prototypes, uncertainty=Uncertainty(0.1, 4, radius=certified))
    peak = peak_of(lambda: labeler(image)) + image.nbytes
    options = labeler.memory_options | {"probes": True, "certified": certified, "channels": channels}
    assert 0.97 < memory_estimate((144, 144), labels, dtype=dtype, **options) / peak < 1.75


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_layers_and_wide_patches_count_at_the_door(monkeypatch, radius, shared):
    image, times = np.random.default_rng(0).random((144, 144)).astype(np.float32), [1.0, 2.0, 3.0, 1.0]
    own = [uniform_weights(image.shape, radius) for _ in times]
    options = {"weights": own[0] if shared else own, "time": times, "solver": Taylor()}
    given = image.nbytes + sum(weights.nbytes for weights in (own[:1] if shared else own))
    peak = peak_of(lambda: label(image, [0.2, 0.8], **options)) + given
    estimate = memory_estimate(image.shape, 2, solver=Taylor(), times=times, radius=radius, shared=shared)
    assert 0.97 < estimate / peak < 1.75
    soft = np.stack([image, 1 - image], axis=-1)
    for free, refused in ((estimate / 0.9 + 1, False), (estimate / 0.9 - 2, True)):
        monkeypatch.setattr(memory, "free_bytes", lambda on_device, free=free: free)
        for run in (lambda: label(image, [0.2, 0.8], **options), lambda: refine(soft, **options)):
            with pytest.raises(MemoryError, match="takes about") if refused else nullcontext():
                run()


@pytest.mark.parametrize("labels", [2, 21])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["uniform", "bilateral", "given"])
@pytest.mark.parametrize("side", [144, 700])
def test_estimate_with_a_mask_and_in_blocks(labels, channels, masked, kind, side):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (side, side, channels), dtype=np.uint8)
    prototypes = np.linspace(0, 1, labels)[:, None] * np.ones(channels)
    weights = {"uniform": None, "bilateral": BilateralWeights(), "given": uniform_weights((side, side))}[kind]
    mask = rng.random((side, side)) < 0.9 if masked else None
    labeler = Labeler(prototypes, weights, scaled=True)
    held = image.nbytes + (weights.nbytes if kind == "given" else 0) + (mask.nbytes if masked else 0)
    peak = peak_of(lambda: labeler(image, mask=mask)) + held
    workspace = weights.workspace(channels) if kind == "bilateral" else 0
    options = {"given": int(kind == "given"), "workspace": workspace, "masked": masked, "channels": channels}
    estimate = memory_estimate((side, side), labels, **labeler.memory_options, **options)
    assert 0.97 < estimate / peak < 1.75


@pytest.mark.parametrize("masked", [False, True])
def test_estimate_of_a_refinement_in_blocks(masked):
    soft = np.random.default_rng(0).dirichlet(np.ones(5), (1000, 900)).astype(np.float32)
    mask = np.random.default_rng(1).random((1000, 900)) < 0.9 if masked else None
    peak = peak_of(lambda: refine(soft, mask=mask)) + soft.nbytes
    estimate = memory_estimate((1000, 900), 5, solver=Taylor(), masked=masked, channels=0, soft=True)
    assert 0.97 < estimate / peak < 1.75


@pytest.mark.parametrize("side", [144, 700])
def test_estimate_with_a_prior_of_every_pixel(side):
    rng = np.random.default_rng(0)
    image, prior = rng.random((side, side), np.float32), rng.dirichlet(np.ones(8), (side, side)).astype(np.float32)
    labeler = Labeler(np.linspace(0, 1, 8), prior=prior)
    peak = peak_of(lambda: labeler(image)) + image.nbytes + prior.nbytes
    assert 0.97 < memory_estimate((side, side), 8, prior=True, **labeler.memory_options) / peak < 1.75


class OnThreads(BilateralWeights):
    """Weights of blocks that are labeled at the same time."""

    concurrent = True


@pytest.mark.parametrize("threads", [1, 4])
def test_estimate_of_blocks_at_a_time(monkeypatch, threads):
    monkeypatch.setattr("gpulaf.labeling.blocks.threads", lambda: threads)
    image, labeler = np.random.default_rng(0).random((1400, 1400), np.float32), Labeler([0.2, 0.8], OnThreads())
    peak = peak_of(lambda: labeler(image)) + image.nbytes
    options = {"workspace": labeler.weights.workspace(1), "blocks": threads} | labeler.memory_options
    most = 1.75 if threads == 1 else 1.75 * threads  # how many blocks meet is the system's choice
    assert 0.97 < memory_estimate((1400, 1400), 2, **options) / peak < most


@pytest.mark.parametrize(("labels", "dtype"), [(2, "float32"), (8, "float64")])
def test_estimate_of_learning_with_a_mask(labels, dtype):
    rng = np.random.default_rng(0)
    l, truth = rng.standard_normal((144, labels, 144)).astype(dtype), rng.integers(0, labels, (144, 144))
    mask = rng.random((144, 144)) < 0.9
    peak = peak_of(lambda: fit_weights(l, truth, steps=2, mask=mask, options=QUIET)) + l.nbytes
    estimate = memory_estimate((144, 144), labels, solver=Taylor(), learn=True, masked=True, dtype=dtype)
    assert 0.97 < estimate / peak < 1.75


def test_a_run_that_cannot_fit_is_refused_with_the_tile_that_would(monkeypatch):
    image, estimate = np.zeros((300, 200), np.float32), memory_estimate((300, 200), 3, solver=Taylor())
    calls = (
        lambda: label(image, [0, 1, 2]),
        lambda: refine(np.full((300, 200, 3), 1 / 3, np.float32)),
        lambda: label(image, [0, 1, 2], solver=DormandPrince()),
        lambda: fit_weights(np.zeros((300, 3, 200), np.float32), np.zeros((300, 200), int), steps=1, options=QUIET),
    )
    monkeypatch.setattr(memory, "free_bytes", lambda on_device: estimate // 2)
    for call, what in zip(calls, ("labeling", "labeling", "labeling", "learning"), strict=True):
        with pytest.raises(MemoryError, match=rf"^{what} 300×200 pixels takes about .* GB, and .* GB are free. A tile"):
            call()
    with pytest.raises(MemoryError) as error:
        calls[0]()
    side = int(str(error.value).split("×")[-1].split()[0])
    assert memory_estimate((side, side), 3, solver=Taylor()) <= 0.9 * (estimate // 2)
    assert memory_estimate((side + 64, side + 64), 3, solver=Taylor()) > 0.9 * (estimate // 2)
    monkeypatch.setattr(memory, "free_bytes", lambda on_device: 1000)
    with pytest.raises(MemoryError, match="Not even a small tile would fit"):
        calls[0]()


def test_free_memory_is_told_where_the_system_tells(monkeypatch):
    free = memory.free_bytes()
    assert free is None or 0 < free < 2**50
    monkeypatch.setattr(memory.Path, "read_text", lambda *_, **__: "nothing")
    assert memory.free_bytes() is None
    label(np.eye(4, dtype=np.float32), [0, 1])  # then nothing is refused


def test_a_small_container_counts(monkeypatch):
    files = {"meminfo": "MemTotal: 9 kB\nMemAvailable: 8000 kB\n", "memory.max": "1000000", "memory.current": "400000"}
    monkeypatch.setattr(memory.Path, "read_text", lambda self, **_: files[self.name])
    assert memory.free_bytes() == 600_000
    files["memory.max"] = "max\n"
    assert memory.free_bytes() == 8_192_000
