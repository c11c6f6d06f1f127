"""How many pixels of unseen images are wrong with learned weights, how many without, and are their segments whole?

lines, colors: scenes of 128², 90 of them to learn from, with seeds below 100, told of ten others. em: electron
micrographs, learned on 00 … 09, told of 10 … 14 at full size, from the grey value. soft: the same behind a boosted
classifier; the probabilities of the images to learn from come from the classifier of the other half of them. vnc: nine
classes behind such a classifier, learned on 00 … 03, told of 04 and 05.

The settings of methods without learning are the best of a grid on training images: five scenes whole, of real images
the middle 192² of all. Where labels are cells and membranes, an offset of the log-probability acts before the method:
for every method alike that with the fewest wrong pixels on training images tells wrong pixels, and that with the best
foreground-restricted Rand F-score tells that; the adapted Rand error is one minus it. Settings of networks come from
candidates, learned on all images but two that are held back. Unseen images choose nothing. ± is the standard deviation
over seeds of the training. Two processes work side by side, each with one thread.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import as_completed
from dataclasses import replace
from typing import Any

import numpy as np
from baselines import METHODS, check_cut
from judging import Found, Problem
from learning import Job, classical, measured, processes, tried
from measure import ASKED, Rows, command, save
from problems import QUICK, Sizes, classified, micrographs, noisy

import gpulaf
from gpulaf.io.images import write_figure
from gpulaf.learning import ConnectivityLoss
from gpulaf.plots.style import ALARM, COLORS, canvas, plain

WIDE = gpulaf.WeightNetwork().features
FEW = 20

#: The best settings of networks on scenes: options, training, seeds.
BEST: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "lines 0.3": ({}, {"steps": 2500}, 2),
    "lines 0.5": ({}, {"steps": 2500}, 2),
    "colors 0.55": ({"time": 12.0, "n_layers": 4, "state": None, "label_state": 4}, {"steps": 1000}, 2),
}
#: Trees of the classifier of single pixels: of scenes from 4000 pixels each.
TREES = {"features": WIDE, "pixels": 4000, "max_iter": 300}


def of_scenes(name: str) -> list[Job]:
    options, training, seeds = BEST[name]
    trees = TREES | ({"max_iter": 100} if name.startswith("colors") else {})
    return [
        Job("boosted classifier", "classifier", trees),
        Job("prototypes", "prototypes", images=FEW),
        Job("network", "network", images=FEW),
        Job("network, best", "network", options, training, seeds=seeds),
    ]


#: What the network of `lines 0.5` loses, at a third of the steps.
ABLATION = [
    Job(f"ablation: {name}", "network", options, {"steps": 200}, FEW)
    for name, options in {
        "nothing left out": {},
        "no state": {"state": None},
        "no correction": {"correction": False},
        "features patch:1": {"features": "patch:1"},
        "one layer": {"n_layers": 1},
    }.items()
]
MICROGRAPHS = {"steps": 500, "batch": 4, "crop": 128, "decay": True}
NETWORK = {"steps": 500}
WIDER = {"features": "patch:4+gaussian:1,2,4,8+affinity", "state": 3}
JOBS: dict[str, list[Job]] = {
    "lines 0.3": of_scenes("lines 0.3"),
    "lines 0.5": of_scenes("lines 0.5") + ABLATION,
    "colors 0.55": of_scenes("colors 0.55"),
    "em": [
        Job("boosted classifier", "classifier", TREES | {"pixels": 10_000}),
        Job("prototypes", "prototypes", {}, MICROGRAPHS),
        Job("network", "network", {}, NETWORK),
        Job(
            "network, wider", "network", WIDER, {"steps": 1000}, seeds=3,
            candidates=({"radius": 1}, {"radius": 2}),
        ),
    ],
    "soft": [
        Job("prototypes", "prototypes", {"features": "patch:1+gaussian", "radius": 2, "rho": 1.0}, MICROGRAPHS),
        Job("network", "network", {}, NETWORK, candidates=({"time": 3.0}, {"time": 6.0})),
        Job("network, connectivity", "network", {}, NETWORK | {"loss": ConnectivityLoss(1)}),
    ],
    "vnc": [
        Job("prototypes", "prototypes", {"features": "patch:1", "rho": 1.0}, MICROGRAPHS | {"steps": 200}),
        Job(
            "network", "network", {"features": "patch:2+gaussian"}, {"steps": 400},
            candidates=({}, {"state": 1, "label_state": 3}),
        ),
    ],
}  # fmt: skip
#: Methods without learning that are too slow for images of 1024² with nine labels.
SLOW = ("random walker", "random walker, priors")
PARTS = {"lines": ["lines 0.3", "lines 0.5"], "colors": ["colors 0.55"], "em": ["em"], "soft": ["soft"], "vnc": ["vnc"]}


def problem(name: str, sizes: Sizes) -> Problem:
    kind, _, noise = name.partition(" ")
    if kind in ("lines", "colors"):
        scenes = gpulaf.scenes.voronoi_lines if kind == "lines" else gpulaf.scenes.voronoi_colors
        return noisy(name, scenes, float(noise), sizes)
    if kind == "em":
        return micrographs(sizes)
    with processes([], ASKED.quick) as submit:
        return classified(name, sizes, submit)


def part(names: list[str], sizes: Sizes) -> Rows:
    """All rows of some problems."""
    problems = [problem(name, sizes) for name in names]
    done: dict[tuple[str, str], list[Found]] = {}
    with processes(problems, ASKED.quick) as submit:
        jobs = {name: decided(name, submit) for name in names}
        waiting = {
            submit(measured, name, job, seed): (name, job.name)
            for name in names
            for job in sorted(jobs[name], key=lambda job: job.kind != "network")
            for seed in range(1 if ASKED.quick else job.seeds)
        }
        methods = [m for m in METHODS if not (m in SLOW and "vnc" in names)]
        waiting |= {submit(classical, name, method): (name, method) for name in names for method in methods}
        for future in as_completed(waiting):
            name, method = waiting[future]
            found = future.result()
            done.setdefault((name, method), []).append(found)
            print(f"{name}, {method}: {np.mean(found.wrong):.2f} % ({found.seconds:.0f} s)", flush=True)
    order = {name: [*methods, *(job.name for job in jobs[name])] for name in names}
    options = {(name, job.name): job.options for name in names for job in jobs[name]}
    keys = [(name, method) for name in names for method in order[name]]
    return [row(*key, done[key], options.get(key, {})) for key in keys]


def decided(name: str, submit: Any) -> list[Job]:
    """The jobs of a problem with the candidates that do best on images held back; with --quick the last ones."""
    jobs = JOBS[name]
    if not ASKED.quick:
        trials = [[submit(tried, name, job, c) for c in job.candidates] for job in jobs if len(job.candidates) > 1]
        scores = iter([[trial.result() for trial in some] for some in trials])
    found = []
    for job in jobs:
        best = job.candidates[-1]
        if not ASKED.quick and len(job.candidates) > 1:
            marks = next(scores)
            best = job.candidates[int(np.argmin(marks))]
            said = ", ".join(f"{spelled(c)} {mark:.2f} %" for c, mark in zip(job.candidates, marks, strict=True))
            print(f"{name}, {job.name}, images held back: {said}", flush=True)
        found.append(replace(job, options=job.options | best))
    return found


def row(name: str, method: str, found: list[Found], options: dict[str, Any]) -> dict[str, Any]:
    """The mean over the seeds of one method; what a problem does not have is empty."""
    shares, rand = ([float(np.mean(getattr(x, kind) or [0])) for x in found] for kind in ("wrong", "rand"))
    several = len(found) > 1
    cells = bool(found[0].rand)
    return {
        "part": name,
        "method": method,
        "wrong %": float(np.mean(shares)),
        "±": float(np.std(shares)) if several else "",
        "IoU %": float(np.mean([x.iou for x in found])),
        "Rand F": float(np.mean(rand)) if cells else "",
        "± F": float(np.std(rand)) if cells and several else "",
        "Rand error": 1 - float(np.mean(rand)) if cells else "",
        "seeds": len(found),
        "s": float(np.sum([x.seconds for x in found])),
        "settings": spelled({k: v for k, v in options.items() if k != "pixels"} | found[0].settings),
        "each": " ".join(f"{x:.2f}" for x in np.mean([x.wrong for x in found], axis=0)),
    }


def spelled(settings: dict[str, Any]) -> str:
    return " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())


def learned(method: str) -> bool:
    return method.startswith(("prototypes", "network"))


def answer(rows: Rows) -> str:
    """One problem in words: every learned row beside the best without learned weights, which its own errors chose."""
    main = [r for r in rows if not r["method"].startswith("ablation")]
    others = [r for r in main if not learned(r["method"])]
    best = min(others, key=lambda r: r["wrong %"])
    text = []
    for r in main:
        if learned(r["method"]):
            share, spread = 100 * (1 - r["wrong %"] / best["wrong %"]), f" ± {r['±']:.2f}" if r["±"] != "" else ""
            how = f"{abs(share):.0f} % {'fewer' if share >= 0 else 'more'}"
            text.append(f"{r['method']} {r['wrong %']:.2f}{spread} % ({how})")
    said = f"{rows[0]['part']}: the best without learned weights is {best['method']}, {best['wrong %']:.2f} % wrong; "
    said += f"with them: {', '.join(text)}"
    for key, what in (("Rand F", "Rand F-score"), ("IoU %", "mean IoU")):
        if (key == "IoU %" and rows[0]["part"] != "vnc") or main[0][key] == "":
            continue
        own, rest = (max(some, key=lambda r: r[key]) for some in ([r for r in main if learned(r["method"])], others))
        said += f"; {what} {own[key]:.3g} of {own['method']}, without them {rest[key]:.3g} of {rest['method']}"
    return said


def figure(rows: Rows) -> Any:
    """Bars for the mean of all parts that were measured, points for the images."""
    names = list(dict.fromkeys(r["part"] for r in rows))
    plot, lines = canvas(-(-len(names) // 2), min(2, len(names)), width=5.8, height=3.6)
    axes = lines.ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        kept = [r for r in rows if r["part"] == name]
        plain(axis, f"{name}: % wrong pixels of unseen images", "", "")
        axis.grid(False)
        for y, r in enumerate(kept):
            own, each = learned(r["method"]), [float(x) for x in r["each"].split()]
            light = r["method"].startswith("ablation")
            color = COLORS[0] if own else COLORS[4] if light else COLORS[3] if "boosted" in r["method"] else COLORS[6]
            axis.barh(y, r["wrong %"], color=color, height=0.75)
            axis.plot(each, len(each) * [y], ".", color=ALARM if own or light else "#666666", ms=4)
            score = f", F {r['Rand F']:.3f}" if r["Rand F"] != "" else f", IoU {r['IoU %']:.1f}" * (name == "vnc")
            spread = f" ± {r['±']:.2f}" if r["±"] != "" else ""
            words = f"  {r['wrong %']:.2f}{spread}{score}"
            axis.text(max(each), y, words, va="center", fontsize=7, clip_on=True)
        axis.set_yticks(range(len(kept)), [r["method"] for r in kept], fontsize=7)
        axis.invert_yaxis()
        usual, most = float(np.median([r["wrong %"] for r in kept])), max(r["wrong %"] for r in kept)
        axis.set_xlim(0, min(3 * usual, 1.5 * most))
    return plot


def kept_rows() -> Rows:
    """Rows of all parts whose results are there, measured now or before."""
    paths = [ASKED.output / f"quality-{name}.json" for name in PARTS]
    rows = [row for path in paths if path.exists() for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return [row for row in rows if "IoU %" in row]  # others are of an earlier version


def main() -> None:
    said = f"{' '.join(PARTS)}; all of them; with --quick lines"
    asked = command(
        __doc__,
        needs=("maxflow", "skimage", "sklearn"),
        more={"parts": {"nargs": "*", "metavar": "PART", "help": said}},
    )
    names = asked.parts or (["lines"] if asked.quick else list(PARTS))
    if not set(names) <= set(PARTS):
        sys.exit(f"parts are {' '.join(names)}; accepted are {', '.join(PARTS)}.")
    check_cut()
    for name in names:
        rows = part(PARTS[name], QUICK if asked.quick else Sizes())
        answers = [answer([r for r in rows if r["part"] == own]) for own in PARTS[name]]
        save(rows, ". ".join(answers) + ".", name=f"quality-{name}")
    if asked.output is not None:
        write_figure(asked.output / "quality.png", figure(kept_rows()))


if __name__ == "__main__":
    main()
