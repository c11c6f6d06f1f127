"""The paper's claims beside ours, from made-up results; what a training costs; processor time in the report."""

from __future__ import annotations

import csv
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from gpulaf.experiments import EXPERIMENTS, cost, dimension, fig2, fig3, fig4, fig5, paper, report
from gpulaf.experiments.result import ExperimentResult

ROOT = Path(__file__).parents[2]


def results():
    """Tables that are as simple as can be."""
    rows = {
        "fig2": [
            {"image": image, "gradient": name, "seed": 0, "step": k, "loss": loss}
            for image, factor in (("noisy", 1.1), ("noiseless", 1.02))
            for name, losses in ((fig2.OURS, (2.0, 1.0)), ("autodiff", (2.0 * factor, 1.0)))
            for k, loss in enumerate(losses)
        ],
        "cost": [
            {"scene": scene, "side": side, "steps": 50, cost.PROCESSOR: side / 512 * 3, cost.WALL: 2.0,
             cost.PEAK: 1e6 * side}
            for scene in ("colors", "lines") for side in (128, 512)
        ],
        "fig3": [
            {"scene": "lines", "T": T, "rank": 1, "steps": 0, "truncation": truncation, fig3.SHARE: share - T}
            for T in fig3.TIMES for truncation, share in ((fig3.KEPT, 100.0), (fig3.WHOLE, 98.0))
        ],
        "fig4": [
            {"varied": varied, "value": value, "T": T, "seed": 0, "step": k, "loss": loss * (2 - k)}
            for varied, value, T, loss in [
                ("m", 2, 3.0, 1.5), ("m", 5, 3.0, 1.01), ("m", 10, 3.0, 1.0), ("rank", 1, 3.0, 0.98),
                ("rank", 10, 3.0, 1.0), *(("T", time, time, time / 10) for time in fig4.TIMES),
            ]
            for k in (0, 1)
        ],
        "fig5": [{"method": method, "wrong %": wrong} for method, wrong in zip(fig5.METHODS, (5, 6, 0.5), strict=True)],
        "subspace": [{"sigma 1": x, "sigma 2": 0.5} for x in (100.0, 20.0)],
        "dimension": [
            {"learned": f"weights of {name}", "side": side, "kind": kind, "d": d, "seed": 0, dimension.LOSS: share}
            for name in dimension.SCENES for side in (64, 128)
            for kind, d, share in (
                (dimension.PATH, 1, 97), (dimension.RANDOM, side, 50), (dimension.RANDOM, 2 * side, 93)
            )
        ],
    }  # fmt: skip
    return {name: ExperimentResult({}, {name: table}, "") for name, table in rows.items()}


@pytest.mark.parametrize(
    ("experiment", "ours"),
    [
        ("fig2", "mean losses differ by at most 10 % on noisy images and 2 % on noiseless images"),
        (
            "cost",
            "512×512, 50 steps: colors 3.0 s of processors, 2.0 s by the clock, lines 3.0 s of processors, 2.0 s by",
        ),
        ("cost", "colors of 128×128 128 MB, colors of 512×512 512 MB, lines of 128×128 128 MB"),
        ("subspace", "first singular value of the core 40 to 200 times the second"),
        ("dimension", "lines: one direction of the path keeps 97 %, 90 % take 256 random ones; colors: one"),
        ("fig3", "whole core 97.00 / 95.00 / 93.00 %, mean kept 99.00 / 97.00 / 95.00 %"),
        ("fig4", "m = 5 and 10: losses within 1 %; m = 2: last loss 50 % larger"),
        ("fig4", "losses within 2 % of those of full rank"),
        ("fig4", "last losses 0.1 at T = 1, 0.3 at T = 3, 0.6 at T = 6, 1 at T = 10"),
        ("fig5", "pixelwise 5.00 %, uniform weights 6.00 %, predicted weights 0.50 % wrong on 1 images"),
    ],
)
def test_ours_comes_from_the_tables(experiment, ours):
    found = results()
    assert ours in paper.table(found)
    without = paper.table({name: result for name, result in found.items() if name != experiment})
    assert ours not in without
    assert f"| `{experiment}` was not run |" in without


def test_what_was_read_and_what_was_not_stand_apart():
    read, reported = paper.table(results()).split("Known of Sect. 4 from second hand, not read")
    assert "under 10 s" in read
    assert paper.SECOND_HAND not in read
    assert "500 MB" not in read
    lines = [line for line in reported.splitlines() if line.startswith("| ") and "| Claim |" not in line]
    assert all("second hand" in line for line in lines)
    assert read.count("\n| ") + len(lines) == len(paper.CLAIMS) + 1
    assert {claim.experiment for claim in paper.CLAIMS} <= set(EXPERIMENTS)
    assert "Sect. 4 was not read" in reported


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_counts_what_is_held_and_what_was_held():
    before, peak = cost.memory("VmRSS"), cost.memory("VmHWM")
    block = np.ones(200_000_000 // 8)
    assert cost.memory("VmRSS") - before > 150e6
    del block
    assert cost.memory("VmRSS") - before < 100e6
    assert cost.memory("VmHWM") >= max(peak, before + 150e6)


def test_a_training_is_that_of_the_demo():
    """The same weights are learned as by the program's own demo, from the same scene."""
    from gpulaf.experiments.demo import run_demo

    row = cost.measured("lines", 128, 0, 3)
    demo = run_demo("lines", steps=3, device="cpu", progress=False)
    assert row["wrong %"] == pytest.approx(100 * demo.fit.history[-1].wrong)
    assert row["start wrong %"] == pytest.approx(100 * demo.fit.history[0].wrong)
    assert row[cost.PEAK] >= row[cost.BEFORE] > 1e7
    assert row[cost.WALL] > 0


def test_cost_finding():
    row = {"scene": "lines", "side": 512, "steps": 50, cost.WALL: 2.0, cost.PROCESSOR: 3.0, cost.PEAK: 4e8}
    text = cost.finding([row | {cost.BEFORE: 1e8}])
    assert "lines of 512×512 pixels 2 s (3 s of processors) and 400 MB (100 MB of them before)." in text


def test_processor_time_counts_work_and_not_waiting():
    began = report._processor_seconds()
    time.sleep(0.2)
    idle = report._processor_seconds() - began
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert idle < 0.15
    assert report._processor_seconds() - began - idle == pytest.approx(0.3, abs=0.1)


# --- the page ---------------------------------------------------------------------------------------------------------


def kept_results():
    """The tables in perf/results/reproduced, as the experiments made them."""

    def value(text):
        return int(text) if text.isdigit() else float(text) if re.fullmatch(r"-?[\d.]+(e-?\d+)?|nan", text) else text

    def rows(path):
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: value(text) for name, text in row.items()} for row in csv.DictReader(file)]

    folder = ROOT / "perf" / "results" / "reproduced"
    return {path.stem: ExperimentResult({}, {path.stem: rows(path)}, "") for path in folder.glob("*.csv")}


def test_the_page_has_the_table_of_the_report():
    page = " ".join((ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8").split())
    for line in paper.table(kept_results()).splitlines():
        assert line in page


def test_the_page_says_how_long_all_take():
    page = " ".join((ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8").split())
    rows = kept_results()["processor-seconds"].tables["processor-seconds"]
    seconds = {row["experiment"]: row["processor seconds"] for row in rows}
    assert set(seconds) == set(EXPERIMENTS)
    assert f"At full size all take {sum(seconds.values()) / 60:.0f} minutes of processor time" in page
    named = ("depth", "dimension", "fig2", "fig4", "neighborhoods")
    rest = sum(seconds.values()) - sum(seconds[name] for name in named)
    listed = ", ".join(f"`{name}` {seconds[name]:.0f}" for name in named).replace("501,", "501 seconds,")
    assert f"({listed}, the others {rest:.0f};" in page
