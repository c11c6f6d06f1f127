"""What a training costs: seconds and memory of learning the weights of an image, in a process of its own.

Peak memory is what the operating system counts, Python, libraries and compiled kernels included.
"""

from __future__ import annotations

import sys
import time as clock
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ..learning.descent import RiemannianGradient
from ..learning.fitting import FitOptions, FitResult, fit_weights
from ..scenes import Scene
from .demo import SCENES
from .learning import RANK_ONE, TIME, scene_likelihood
from .result import ExperimentResult, Row, Setting

#: How many times the side of other experiments' scenes.
SIDES = (1, 4)
WALL, PROCESSOR, PEAK, BEFORE = "wall seconds", "processor seconds", "peak bytes", "start bytes"


def run(setting: Setting) -> ExperimentResult:
    """Train on both scenes in two sizes, one after the other."""
    rows: list[Row] = []
    steps = setting.pick(50, 20)
    for name in SCENES:
        for factor in SIDES[setting.pick(0, 1) :]:
            side = factor * setting.size
            setting.tell(f"{name}, {side}×{side}")
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                rows.append(alone.submit(measured, name, side, setting.seed, steps).result())
    return ExperimentResult({}, {"cost": rows}, finding(rows))


def measured(name: str, side: int, seed: int, steps: int) -> Row:
    """Seconds and bytes of a training in this process; kernels are compiled before."""
    make, step = SCENES[name]
    _trained(make(16, sites=4, seed=seed), step, 1)
    scene = make(side, sites=round(30 * (side / 128) ** 2), seed=seed)
    before, began, spent = memory("VmRSS"), clock.perf_counter(), clock.process_time()
    fit = _trained(scene, step, steps)
    wall, processor = clock.perf_counter() - began, clock.process_time() - spent
    about = {"scene": name, "side": side, "labels": len(scene.prototypes), "steps": steps}
    ends = {"start wrong %": 100 * fit.history[0].wrong, "wrong %": 100 * fit.history[-1].wrong}
    return about | ends | {WALL: wall, PROCESSOR: processor, PEAK: memory("VmHWM"), BEFORE: before}


def _trained(scene: Scene, step: float, steps: int) -> FitResult:
    return fit_weights(
        scene_likelihood(scene), scene.truth, time=TIME, solver=RANK_ONE.solver, descent=RiemannianGradient(step),
        steps=steps, options=FitOptions(rank=1, progress=False),
    )  # fmt: skip


def memory(name: str) -> int:
    """Bytes of this process that are resident, "VmRSS", or were at most, "VmHWM"; at most both where /proc is not."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}:"))
        return 1024 * int(line.split()[1])
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def finding(rows: list[Row]) -> str:
    """Seconds and peak memory of every training."""
    words = [
        f"{row['scene']} of {row['side']}×{row['side']} pixels {row[WALL]:.3g} s ({row[PROCESSOR]:.3g} s of "
        f"processors) and {row[PEAK] / 1e6:.0f} MB ({row[BEFORE] / 1e6:.0f} MB of them before)"
        for row in rows
    ]
    return f"{rows[0]['steps']} steps of learning take, in a process of their own: {'; '.join(words)}."
