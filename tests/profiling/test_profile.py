"""The stages of a learning step, the roofline and the command."""

from __future__ import annotations

import json
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpulaf
from gpulaf.backend import dispatch
from gpulaf.io.images import read_image
from gpulaf.plots.figures import roofline_figure
from gpulaf.profiling.costs import Cost
from gpulaf.profiling.profile import STAGES, Profile, Stage, profile_step


@pytest.fixture(scope="module", params=["float32", "float64"])
def profile(request: pytest.FixtureRequest) -> Profile:
    """On the CPU, with the gradient in one wave."""
    return profile_step(32, 3, device="cpu", dtype=request.param, steps=7)


@pytest.fixture(scope="module")
def stored() -> Profile:
    """As where there is no wave, on a GPU: the series is stored, and its gradient is made of three stages."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gpulaf.Grid, "in_one_wave", False)
        return profile_step(32, 3, device="cpu", steps=5)


def check_steps(profile: Profile, count: int) -> None:
    names = [stage.name for stage in profile.stages]
    assert names == [name for name in STAGES if name in names]
    assert len(profile.steps) == count
    for step in profile.steps:
        assert list(step) == [*names, "total"]
        assert min(step.values()) > 0
        assert sum(step[name] for name in names) <= step["total"]
    middle = sorted(profile.steps, key=lambda step: step["total"])[count // 3 : -(count // 3)]
    assert profile.total == pytest.approx(np.mean([step["total"] for step in middle]), rel=1e-12)
    for stage in profile.stages:
        assert stage.seconds == pytest.approx(np.mean([step[stage.name] for step in middle]), rel=1e-12)
        assert stage.share == pytest.approx(stage.cost.bytes / stage.seconds / stage.copy)
        assert stage.rate == pytest.approx(stage.intensity * stage.bandwidth)
    assert profile.rest > 0
    assert sum(stage.seconds for stage in profile.stages) + profile.rest == pytest.approx(profile.total, rel=1e-12)


def test_stages_and_the_rest_are_the_step(profile: Profile, stored: Profile) -> None:
    check_steps(profile, 7)
    check_steps(stored, 5)


def test_stages_are_the_calls_of_one_step(profile: Profile, stored: Profile) -> None:
    both = {
        "similarity": (1, ("similarity",)), "forward series": (1, ("chain",)), "loss": (3, ("agreement", "cosine")),
        "norms": (1, ("moments",)), "update": (2, ("moments", "geodesic")),
    }  # fmt: skip
    assert called(profile) == both | {"gradient wave": (1, ("reverse_horner",))}
    assert called(stored) == both | {
        "combination": (1, ("combination",)), "reverse Horner": (1, ("chain",)),
        "weight gradient": (1, ("weight_gradient",)),
    }  # fmt: skip


def called(profile: Profile) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {stage.name: (stage.calls, stage.kernels) for stage in profile.stages}


def test_bytes_of_a_step(profile: Profile, stored: Profile) -> None:
    """By the arrays of the step: K = degree − 1 products each way; a wave reads and writes each array once."""
    for found in (profile, stored):
        itemsize, K = np.dtype(found.dtype).itemsize, found.degree - 1
        field, patches, one = 3 * 32 * 32 * itemsize, 9 * 32 * 32 * itemsize, 32 * 32 * itemsize
        truth = 4 * 32 * 32
        moved = {stage.name: stage.cost.bytes for stage in found.stages}
        both = {
            "similarity": 2 * field + patches,
            "loss": 2 * (field + truth) + 2 * field + truth,
            "norms": 2 * patches + one,
            "update": 4 * patches + 2 * one + 3 * patches + one,
        }
        wave = {"forward series": K * (4 * field + patches), "gradient wave": 4 * field + 2 * patches}
        series = {
            "forward series": K * (3 * field + patches),
            "combination": (K + 1) * field + field,
            "reverse Horner": K * (4 * field + patches),
            "weight gradient": 3 * K * field + 4 * field + patches,  # Σ_q y_q a_qᵀ of as many terms
        }
        assert moved == both | (wave if found is profile else series)


def test_the_step_is_the_usual_one_of_a_fit(profile: Profile) -> None:
    assert profile.degree == gpulaf.Taylor().plan(3.0)[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 1}, "size is 1"), ({"labels": 1.5}, "labels is 1.5"), ({"steps": 4}, "steps is 4"),
        ({"dtype": "int32"}, "'int32'.*float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_profiled(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        profile_step(**({"size": 32, "labels": 2} | options))


def test_more_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gpulaf.backend.memory"), "free_bytes", lambda on_device=False: 10**6)
    with pytest.raises(MemoryError, match="512×512"):
        profile_step(512, 4, device="cpu")


def test_observed_kernels_do_the_same_work() -> None:
    scene = gpulaf.scenes.voronoi_lines(24, sites=5)
    l = gpulaf.labeling.log_likelihood(gpulaf.labeling.distances(scene.image, scene.prototypes), rho=0.2)
    seen: list[str] = []

    def observer(kernel: str, function: Any) -> Any:
        seen.append(kernel)
        return function

    plain = gpulaf.fit_weights(l, scene.truth, steps=2, solver=gpulaf.Taylor(4))
    with dispatch.observed(observer):
        observed = gpulaf.fit_weights(l, scene.truth, steps=2, solver=gpulaf.Taylor(4))
    assert plain.weights.tobytes() == observed.weights.tobytes()
    assert seen.count("similarity") == 3
    assert seen.count("geodesic") == 2


def test_an_observer_goes_with_its_block() -> None:
    array, marks = np.ones(1), []
    bare = dispatch.implementation("moments", array)

    def outer(kernel: str, function: Any) -> Any:
        marks.append(f"outer {kernel}")
        return function

    def broken() -> None:
        with dispatch.observed(lambda kernel, function: function.__module__):
            marks.append(dispatch.implementation("moments", array))
            raise ZeroDivisionError

    with dispatch.observed(outer):
        with pytest.raises(ZeroDivisionError):
            broken()
        assert dispatch.implementation("moments", array) is bare
    assert dispatch.implementation("moments", array) is bare
    assert marks == ["gpulaf.kernels.moments", "outer moments"]


# --- the figure and the command -------------------------------------------------------------------------------------


def made_up(points: list[tuple[float, float]], peak: float | None) -> Profile:
    """Stages at (operations per byte, Gflop/s) under a copy of 20 GB/s."""
    stages = [
        Stage(name, (name,), 1, x * 1e9 / (y * 1e9), Cost(10**9, round(x * 1e9)), 20e9)
        for name, (x, y) in zip(STAGES, points, strict=True)
    ]
    return Profile("a machine", 64, 3, 7, "float32", stages, 0.0, 1.0, peak, [])


@pytest.mark.parametrize("peak", [100e9, 3e9, None])
@pytest.mark.parametrize("close", [False, True])
def test_names_in_the_roofline_do_not_overlap(peak: float | None, close: bool) -> None:
    rng = np.random.default_rng(1)
    size = (len(STAGES), 2)
    points = np.exp(rng.uniform(-0.15, 0.15, size) if close else rng.uniform(-1.5, 1.5, size)) * [1, 8]
    figure = roofline_figure(made_up([tuple(point) for point in points.tolist()], peak))
    file = BytesIO()
    figure.savefig(file, format="png", dpi=100)
    axis = figure.axes[0]
    np.testing.assert_allclose(axis.collections[0].get_offsets(), points, rtol=1e-6)
    texts = [text for text in axis.texts if text.get_text()]
    assert [text.get_text() for text in texts if text.get_text() in STAGES] == sorted(
        STAGES, key=lambda name: -points[STAGES.index(name), 1]
    )
    boxes = [text.get_tightbbox() for text in texts]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k]), texts[k]
    names = [text.get_text() for text in texts if text.get_text() not in STAGES]
    assert names[0] == "copy: 20 GB/s"
    assert len(names) == (1 if peak is None else 2)


def test_the_roof_is_the_lower_of_copy_and_peak() -> None:
    points = [(0.5, 1.0)] * (len(STAGES) - 1) + [(8.0, 30.0)]
    x, y = roofline_figure(made_up(points, 40e9)).axes[0].lines[0].get_data()
    np.testing.assert_allclose(y, np.where(x < 2, 20 * x, 40), rtol=1e-12)
    x, y = roofline_figure(made_up(points, None)).axes[0].lines[0].get_data()
    np.testing.assert_allclose(y, 20 * x, rtol=1e-12)


def test_the_command_prints_a_table_and_writes_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpulaf.cli import main

    monkeypatch.chdir(tmp_path)
    arguments = ["profile", "--size", "32", "--labels", "3", "--dtype", "float64", "--device", "cpu"]
    main(arguments, standalone_mode=False)
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()
    main([*arguments, "-o", "new/folder"], standalone_mode=False)
    output, errors = capsys.readouterr()
    assert errors == ""
    record = json.loads((tmp_path / "new/folder/profile.json").read_text(encoding="utf-8"))
    lines = output.splitlines()
    assert lines[0] == f"{record['machine']}, float64, 32×32 pixels, 3 labels, Taylor degree {record['degree']}"
    count = len(record["stages"])
    for line, stage in zip(lines[2 : 2 + count], record["stages"], strict=True):
        assert line.startswith(stage["name"])
        calls, ms, megabytes, gigabytes, share, intensity = map(float, line[len(stage["name"]) :].split())
        assert calls == stage["calls"]
        assert ms == pytest.approx(1e3 * stage["seconds"], abs=5e-4)
        assert megabytes == pytest.approx(stage["cost"]["bytes"] / 1e6, rel=1e-3)
        assert gigabytes == pytest.approx(stage["cost"]["bytes"] / stage["seconds"] / 1e9, abs=0.05)
        assert share == pytest.approx(stage["share"], abs=0.005)
        assert intensity == pytest.approx(stage["cost"]["operations"] / stage["cost"]["bytes"], abs=0.005)
    assert float(lines[2 + count].removeprefix("everything else")) == pytest.approx(1e3 * record["rest"], abs=5e-4)
    calls = sum(stage["calls"] for stage in record["stages"])
    assert lines[3 + count].split()[:3] == ["total", str(calls), f"{1e3 * record['total']:.3f}"]
    assert len(record["steps"]) >= 5
    assert read_image(tmp_path / "new/folder/profile.png").std() > 10
