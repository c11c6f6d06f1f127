"""The model of the GPU: counts against counts by hand, occupancy against NVIDIA's, times that grow with the work."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

PERF = Path(__file__).parents[2] / "perf"
J, SIDE, N, PIXELS = 3, 40, 9, 40 * 40
A100, H100, H200 = range(3)


@pytest.fixture
def perf(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The scripts as modules."""
    monkeypatch.syspath_prepend(str(PERF))
    import devices
    import gpu_model
    import launches

    return SimpleNamespace(devices=devices, launches=launches, model=gpu_model)


def row(
    perf: SimpleNamespace, name: str, device: int = A100, *, labels: int = J, side: int = SIDE, dtype: str = "float32"
) -> dict[str, Any]:
    """What is predicted of a kernel or a sequence."""
    launches = perf.model.record(perf.model.calls(labels, side, dtype)[name])
    return perf.model.predict(perf.model.DEVICES[device], name, launches, labels, side, dtype)


#: Floats that are read and written for each pixel, and launches; a sequence with those of CuPy behind.
BY_HAND = {
    "operator": (2 * J + N, J, 1),
    "adjoint, source": (3 * J + N, J, 1),
    "similarity": (J + N, J, 1),
    "weight_gradient": (3 * J + 3 * J, J + N, 1),
    "weight_gradient, 7 terms": (21 * J + 3 * J, J + N, 1),
    "cosine": (J + 1, J, 1),
    "moments": (3 * N + 1, N + 1, 1),
    "moments, norms": (2 * N, 1, 1),
    "geodesic": (2 * N, N, 1),
    "combination, 8 to 1": (8 * J, J, 1),
    "operator chain": (6 * (2 * J + N), 6 * J, 6),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float64", 8)])
def test_bytes_and_launches_are_those_counted_by_hand(perf: SimpleNamespace, name: str, dtype: str, size: int) -> None:
    found, (read, written, launches) = row(perf, name, dtype=dtype), BY_HAND[name]
    labels_of_truth = PIXELS * (4 - size) if name == "cosine" else 0  # 4 bytes each
    assert found["launches"] == launches
    assert found["MB read"] * 1e6 == pytest.approx(PIXELS * read * size + labels_of_truth)
    assert found["MB written"] * 1e6 == pytest.approx(PIXELS * written * size)


def test_sums_take_two_launches(perf: SimpleNamespace) -> None:
    found = row(perf, "agreement")
    blocks = -(-SIDE // 32) * -(-SIDE // 8)
    assert found["launches"] == 2
    assert found["MB read"] * 1e6 == pytest.approx(PIXELS * (J + 1) * 4 + 6 * blocks * 8)
    assert found["MB written"] * 1e6 == pytest.approx(6 * 8)


def test_launches_of_a_step_by_hand(perf: SimpleNamespace) -> None:
    """Similarity, 7 + 7 products, v, two sums and g, ∂Ω, norms and the update."""
    launches = perf.model.record(perf.model.calls(J, SIDE, "float32")["step"])
    kernels = [x.entry.removesuffix("_kernel") for x in launches if x.entry]
    assert kernels == [
        "similarity", *7 * ["operator"], "combination", "agreement", "agreement_sum", "cosine", *7 * ["adjoint"],
        "weight_gradient", "moments", "geodesic",
    ]  # fmt: skip
    others = [x.kernel for x in launches if not x.entry]
    assert others == ["subtract", "multiply", "sum", "sum", "concatenate", "concatenate", "copy"]


def test_a_series_and_its_adjoint_are_written_where_the_gradient_reads_them(perf: SimpleNamespace) -> None:
    launches = perf.model.record(perf.model.calls(J, SIDE, "float32")["reverse_horner"])
    assert [x.kernel for x in launches] == [
        "subtract", "multiply", *7 * ["operator"], *7 * ["adjoint"], "weight_gradient"
    ]  # fmt: skip


def test_launches_are_those_of_a_simulated_device(perf: SimpleNamespace) -> None:
    """Sums and concatenations are one operation there."""
    simulation = pytest.importorskip("cuda_simulation")
    import cupy
    from gpulaf.kernels import reverse_horner

    from gpulaf import RiemannianGradient
    from gpulaf.learning.cuda_graph import FixedStep

    weights, (S, l, g) = cupy.ones((8, 9, 8), "f4") / 9, (cupy.ones((8, J, 8), "f4") / J for _ in range(3))
    step = FixedStep(l, cupy.zeros((8, 8), "i4"), perf.model.TIME, 8, RiemannianGradient(1.0))

    def take_step() -> None:
        weights[...] = step(weights, {}, ())[0]

    calls = {"reverse_horner": lambda: reverse_horner.gpu(weights, S, l, g, np.ones(8)), "step": take_step}
    for name, call in calls.items():
        with simulation.counting() as counts:
            call()
        launches = perf.model.record(perf.model.calls(J, 8, "float32")[name])
        assert Counter(x.entry for x in launches if x.entry) == counts.kernels
        assert {x.kernel for x in launches if not x.entry} == set(counts.operations)


def test_the_tables_of_the_readme_are_those_of_the_results(perf: SimpleNamespace) -> None:
    rows = json.loads((PERF / "results" / "gpu_model.json").read_text(encoding="utf-8"))["rows"]
    assert perf.model.markdown(rows) in (PERF / "README.md").read_text(encoding="utf-8")


def test_recording_leaves_no_trace(perf: SimpleNamespace) -> None:
    from gpulaf.kernels import _cuda, operator

    before = _cuda.launch, _cuda.empty, operator.gpu
    row(perf, "operator")
    assert (_cuda.launch, _cuda.empty, operator.gpu) == before
    assert perf.launches.Noted.record is None


def test_every_kernel_with_cuda_text_is_modelled(perf: SimpleNamespace) -> None:
    texts = {path.stem for path in (PERF.parent / "kernels").glob("*.cu")}
    assert set(perf.launches.KERNELS) == texts
    seen = {x.kernel for call in perf.model.calls(J, SIDE, "float32").values() for x in perf.model.record(call)}
    assert texts <= seen


#: Architecture, threads, registers, shared bytes, and the blocks by ``cuda_occupancy.h`` of CUDA 13.0.
NVIDIA = [
    (80, 256, 32, 0, 8),
    (80, 256, 48, 12240, 5),
    (80, 256, 58, 1024, 4),
    (80, 256, 80, 0, 3),
    (80, 256, 73, 1024, 3),
    (80, 256, 110, 0, 2),
    (80, 256, 255, 0, 1),
    (80, 256, 40, 44880, 3),
    (80, 256, 30, 32768, 4),
    (80, 128, 30, 0, 16),
    (80, 128, 33, 2048, 12),
    (80, 128, 127, 24480, 4),
    (90, 256, 32, 0, 8),
    (90, 256, 48, 14960, 5),
    (90, 256, 100, 44880, 2),
    (90, 256, 40, 24480, 6),
    (90, 256, 96, 16384, 2),
    (90, 256, 160, 0, 1),
    (90, 128, 40, 44880, 5),
    (90, 128, 200, 1024, 2),
]


@pytest.mark.parametrize(("architecture", "threads", "registers", "shared", "blocks"), NVIDIA)
def test_occupancy_is_that_of_nvidia(
    perf: SimpleNamespace, architecture: int, threads: int, registers: int, shared: int, blocks: int
) -> None:
    assert perf.devices.resident_blocks(f"sm_{architecture}", registers, shared, threads) == blocks


def test_registers_are_those_of_the_compiler(perf: SimpleNamespace) -> None:
    compiled = json.loads((PERF / "results" / "registers.json").read_text(encoding="utf-8"))
    for device, architecture in ((A100, "sm_80"), (H200, "sm_90")):
        label = "float32 RADIUS=1 LABELS=10 INDEX=int REPLICATE=1"
        expected = compiled[architecture]["adjoint"][label]["adjoint_kernel"]["registers"]
        assert row(perf, "adjoint", device, labels=10)["registers"] == expected
    of_eight = compiled["sm_80"]["operator"]["float32 RADIUS=1 LABELS=8 INDEX=int REPLICATE=1"]["operator_kernel"]
    assert row(perf, "operator", A100, labels=5)["registers"] == of_eight["registers"]


def test_every_recorded_kernel_is_found_among_registers(perf: SimpleNamespace) -> None:
    for labels in (2, 10, 40):
        for dtype in ("float32", "float64"):
            for call in perf.model.calls(labels, SIDE, dtype).values():
                for launch in perf.model.record(call):
                    for device in perf.model.DEVICES:
                        assert perf.model.blocks_of(device, launch) >= 1


@pytest.mark.parametrize("name", ["operator", "adjoint", "weight_gradient", "agreement", "geodesic", "step"])
def test_time_grows_with_pixels_labels_and_digits(perf: SimpleNamespace, name: str) -> None:
    by_side = [row(perf, name, side=side)["us"] for side in (16, 64, 256)]
    by_dtype = [row(perf, name, side=256, dtype=dtype)["us"] for dtype in ("float32", "float64")]
    by_device = [row(perf, name, device, side=256)["us"] for device in (H200, H100, A100)]
    assert by_side == sorted(by_side)
    assert by_dtype == sorted(by_dtype)
    assert by_device == sorted(by_device)
    if name != "geodesic":
        by_labels = [row(perf, name, side=256, labels=labels)["us"] for labels in (2, 8, 16)]
        assert by_labels == sorted(by_labels)


def test_nothing_is_faster_than_its_floor(perf: SimpleNamespace) -> None:
    for labels, side in ((10, 256), (3, 32)):
        for name, call in perf.model.calls(labels, side, "float32").items():
            launches = perf.model.record(call)
            for device in perf.model.DEVICES:
                found = perf.model.predict(device, name, launches, labels, side, "float32")
                assert found["floors"] > 1 / perf.devices.REACHED
                assert found["us in calls"] >= found["launches"] * 15 / perf.model.SEQUENCES.get(name, 1) * 0.999


def test_large_images_approach_what_a_copy_reaches(perf: SimpleNamespace) -> None:
    assert row(perf, "operator", side=1024, labels=10)["floors"] == pytest.approx(1 / perf.devices.REACHED, rel=0.02)


def test_lines_of_a_product_by_hand(perf: SimpleNamespace) -> None:
    """Weights and S once, y once, nine neighbors of which six lie across two lines; a warp is 32 pixels."""
    (launch,) = perf.model.record(perf.model.calls(J, SIDE, "float32")["operator"])
    assert launch.lines == pytest.approx(PIXELS / 32 * (N + J + J + 15 * J))


def test_few_resident_threads_cannot_keep_memory_busy(perf: SimpleNamespace) -> None:
    (launch,) = perf.model.record(perf.model.calls(10, 512, "float32")["operator"])
    device = perf.model.DEVICES[H200]
    one, five = (perf.devices.time_of(device, launch, blocks) for blocks in (1, 5))
    assert one.latency == pytest.approx(5 * five.latency)
    assert (one.bound, five.bound) == ("latency", "memory")


def test_measurements_stand_beside(
    perf: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = {"J": J, "side": SIDE, "dtype": "float32"}
    rows = [{"kernel": "operator", **case, "ms": 0.5}, {"kernel": "adjoint", **case, "side": 8, "ms": 9.0}]
    machine = {"gpu": "NVIDIA H100 80GB HBM3"}
    (tmp_path / "bandwidth-gpu.json").write_text(json.dumps({"machine": machine, "rows": rows}))
    steps = [{"gradient": "Taylor 1e-3, exact", "s": 9.0}, {"gradient": "Taylor 1e-4, exact", "s": 0.1}]
    said = {"machine": machine, "answer": f"50 steps at {SIDE}² pixels with {J} labels take 0.1 s.", "rows": steps}
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "fit-gpu.json").write_text(json.dumps(said))
    perf.model.compiled()
    monkeypatch.setattr(perf.model, "RESULTS", tmp_path)
    assert [row(perf, "operator", device)["us measured"] for device in (A100, H100, H200)] == ["", 500, ""]
    assert row(perf, "adjoint", H100)["us measured"] == ""
    assert row(perf, "step", H100)["us measured"] == pytest.approx(2000)
    assert row(perf, "step", H100, side=16)["us measured"] == ""
    rows = [row(perf, name, device) for name in ("operator", "step") for device in (A100, H100, H200)]
    crosses = [line for axis in perf.model.figure(rows).axes for line in axis.lines if line.get_marker() == "x"]
    assert sum(len(line.get_xdata()) for line in crosses) == 2
