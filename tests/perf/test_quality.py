"""Measuring unseen images: labels of least variation and energy, and settings that training images choose."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import ENVIRONMENT
from realdata import realdata

PERF = Path(__file__).parents[2] / "perf"


@pytest.fixture
def perf(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The scripts as modules."""
    for name in ("sklearn", "maxflow"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(PERF))
    import baselines
    import judging
    import variation

    return SimpleNamespace(baselines=baselines, judging=judging, variation=variation)


def total_variation(labels: np.ndarray, cost: np.ndarray, strength: float) -> float:
    """The energy of a labeling, by its definition."""
    u = (labels[..., None] == np.arange(cost.shape[1])).astype(float)
    y, x = (np.diff(u, axis=axis, append=u.take([-1], axis=axis)) for axis in (0, 1))
    return float((u * np.moveaxis(cost, 1, 2)).sum() + strength * np.hypot(y, x).sum())


@pytest.mark.parametrize(("labels", "shape"), [(2, (3, 4)), (3, (2, 4))])
def test_no_labeling_has_less_total_variation(perf: SimpleNamespace, labels: int, shape: tuple[int, int]) -> None:
    for seed, strength in product(range(2), (0.05, 0.3)):
        cost = np.random.default_rng(seed).random((shape[0], labels, shape[1])).astype(np.float32)
        found = perf.variation.least_variation(cost, strength, steps=2000)
        every = product(range(labels), repeat=shape[0] * shape[1])
        least = min(total_variation(np.reshape(x, shape), cost, strength) for x in every)
        assert total_variation(found, cost, strength) <= 1.02 * least


def test_two_labels_are_those_of_any_number(perf: SimpleNamespace) -> None:
    cost = np.random.default_rng(0).random((20, 2, 30)).astype(np.float32)
    third = np.concatenate([cost, np.full((20, 1, 30), 100, np.float32)], axis=1)
    found = (perf.variation.least_variation(x, 0.2, steps=1000) for x in (cost, third))
    assert np.mean(next(found) != next(found)) < 0.01


def test_cuts_and_expansions_are_least(perf: SimpleNamespace) -> None:
    perf.baselines.check_cut()


def problem(perf: SimpleNamespace, cells: bool) -> Any:
    """Two images, the first to learn from, whose label 0 costs 1.2 too much."""
    rng, cases = np.random.default_rng(0), []
    for _ in range(2):
        truth = (rng.random((12, 12)) > 0.3).astype(np.int32)
        cost = np.where(truth[:, None] == np.arange(2)[:, None], 0, 1).astype(np.float32)
        cost[:, 0] += 1.2
        cases.append(perf.baselines.Case(truth[..., None].astype(np.float32), truth, cost))
    return perf.judging.Problem("given", cases[:1], cases[:1], cases[1:], cells=cells)


def test_known_images_choose_offset_and_settings(perf: SimpleNamespace) -> None:
    def call(case: Any, offset: float = 0.0, wrong: bool = False) -> np.ndarray:
        labels = case.shifted(offset).cost.argmin(axis=1)
        return 1 - labels if wrong else labels

    given = problem(perf, cells=True)
    for settings in ([{}], [{"wrong": True}, {"wrong": False}]):
        found = perf.judging.tuned(call, settings, given)
        assert len(found) == 2
        assert all(-2.2 < each["offset"] < -0.2 and not each.get("wrong") for each in found)
        told = perf.judging.told(call, found, given, 1.0)
        assert told.wrong == [0.0]
        assert told.iou == 100.0
        assert told.rand == [1.0]


def test_without_cells_there_is_no_offset(perf: SimpleNamespace) -> None:
    given = problem(perf, cells=False)
    found = perf.judging.tuned(lambda case: case.cost.argmin(axis=1), [{}], given)
    told = perf.judging.told(lambda case: case.cost.argmin(axis=1), found, given, 1.0)
    assert found == [{}]
    assert told.rand == []
    assert told.wrong == [100 * float(np.mean(given.unseen[0].truth == 0))]


@realdata
@pytest.mark.parametrize("part", ["em", "soft", "vnc"])
def test_quick_parts_of_real_images(tmp_path: Path, part: str) -> None:
    for name in ("sklearn", "maxflow", "skimage"):
        pytest.importorskip(name)
    command = [sys.executable, "-B", str(PERF / "quality.py"), "--quick", part, "--output", "results"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((tmp_path / f"results/quality-{part}.json").read_text(encoding="utf-8"))["rows"]
    assert {"pixelwise", "total variation", "min cut, plain", "prototypes", "network"} <= {r["method"] for r in rows}
    assert {len(r["each"].split()) for r in rows} == {2 if part == "vnc" else 5}
    assert {r["Rand F"] == "" for r in rows} == {part == "vnc"}
