"""How many pixels of unseen images are wrong with predicted weights, and how many without learning?

lines: the paper's Voronoi lines, 5 training and 5 unseen images of 128², the predictor with all its defaults.
em: electron micrographs, learned on 00 … 09, told of 10 … 14 at full size. The data term is the distance of the grey
value to the mean of each class, alone or with an offset in favor of the interior. soft: the same images; the data term
are the probabilities of a gradient-boosted classifier of `gpulaf.prediction.gaussian_features`, for the training images
from the classifier of the other half of them. speed: 100 steps on ten images of 512², all defaults.

Every setting of the methods without learning is the best of a grid on the training images: scenes of `lines` whole, of
micrographs the middle 192². Predictors choose theirs by learning on 00 … 07 and labeling 08 and 09, then learn again on
all ten, from one or two seeds, in a process of their own, whose peak memory is told. Unseen images choose nothing.
"""

from __future__ import annotations

import json
import sys
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from baselines import METHODS, Case, check_cut, tuned
from learning import Job, alone, both, chosen, labeled, of_both, of_grey, spelled, stored
from measure import ASKED, Rows, command, save
from threadpoolctl import threadpool_limits

import gpulaf
from gpulaf.fields import from_rows, to_rows
from gpulaf.io import read_image, read_truth, write_figure
from gpulaf.plots.style import ALARM, COLORS, canvas, plain
from gpulaf.prediction import gaussian_features

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "em"
LEARNED = 10


class Effort(NamedTuple):
    """Side of scenes, their noise, the training of all predictors, that of micrographs, their seeds."""

    side: int
    noise: tuple[float, ...]
    training: dict[str, Any]
    micrographs: dict[str, Any]
    seeds: int
    #: Side of the middle of a micrograph on which methods without learning are tuned, and that is labeled in the end.
    known: int
    unseen: int


EFFORT = USUAL = Effort(
    128, (0.3, 0.5), {}, {"steps": 500, "batch": 4, "crop": 128, "decay": True}, 2, 192, 512
)  # fmt: skip
QUICK = Effort(32, (0.3,), {"steps": 2}, {"steps": 2, "batch": 2, "crop": 32}, 1, 32, 48)


def row(part: str, method: str, found: Sequence[np.ndarray], cases: Sequence[Case], **more: Any) -> dict[str, Any]:
    """What the labelings of the unseen cases miss; recall and precision are those of label 0, the thin structure."""
    shares = [100 * float(np.mean(labels != case.truth)) for labels, case in zip(found, cases, strict=True)]
    thin, true = (np.concatenate([x.ravel() == 0 for x in xs]) for xs in (found, [case.truth for case in cases]))
    hits = 100 * np.sum(thin & true)
    own = {"recall %": float(hits / true.sum()), "precision %": float(hits / max(1, thin.sum()))}
    values = {"settings": {}, "s": 0.0, "MB": 0.0} | more
    return {"part": part, "method": method, "wrong %": float(np.mean(shares)), **own, **values, "each": shares}


def classical(part: str, known: list[Case], unseen: list[Case], unit: float = 1, offsets: Any = (0,)) -> Rows:
    """Rows of every method without learning, tuned on the known cases; `s` is the time that tuning took."""
    most = np.bincount(np.concatenate([case.truth.ravel() for case in known])).argmax()
    rows = [row(part, "one label", [np.full(case.truth.shape, most) for case in unseen], unseen)]
    for name, method in METHODS.items():
        began = clock.perf_counter()
        settings = tuned(method, known, unit, offsets)
        seconds = clock.perf_counter() - began
        own = {k: v for k, v in settings.items() if k != "offset"}
        found = [method.call(case.shifted(settings.get("offset", 0)), **own) for case in unseen]
        rows.append(row(part, name, found, unseen, settings=settings, s=seconds))
        print(f"{part}, {name}: {rows[-1]['wrong %']:.2f} % ({spelled(settings)}, {seconds:.0f} s)", flush=True)
    return rows


def predicted(part: str, name: str, job: Job, unseen: list[Case], soft: Any = None, seeds: int = 2) -> Rows:
    """One row for each seed."""
    rows = []
    for seed in range(min(seeds, EFFORT.seeds)):
        own = job._replace(options=job.options | {"seed": seed}, training=job.training | {"seed": seed})
        model, seconds, memory = alone(own)
        found = [labeled(model, case.image, p) for case, p in zip(unseen, soft or [None] * len(unseen), strict=True)]
        more = {"settings": own.options, "s": seconds, "MB": memory}
        rows.append(row(part, f"{name}, seed {seed}", found, unseen, **more))
        print(f"{part}, {name} {seed}: {rows[-1]['wrong %']:.2f} % ({seconds:.0f} s, {memory:.0f} MB)", flush=True)
    return rows


def lines() -> tuple[Rows, str]:
    rows, claims = [], []
    for noise in EFFORT.noise:
        scenes = [gpulaf.scenes.voronoi_lines(EFFORT.side, noise=noise, seed=seed) for seed in range(10)]
        values = scenes[0].prototypes
        cases = [Case(s.image, s.truth, gpulaf.labeling.distances(s.image, values).astype(np.float32)) for s in scenes]
        job = Job({}, EFFORT.training, [s.image for s in scenes[:5]], [s.truth for s in scenes[:5]])
        own = classical(f"lines, noise {noise}", cases[:5], cases[5:])
        own += predicted(f"lines, noise {noise}", "predictor 3×3", job, cases[5:])
        claims.append(f"at noise {noise} {against(own, 'predictor 3×3')}")
        rows += own
    return rows, f"wrong pixels of five unseen scenes of lines: {'; '.join(claims)}."


def middle(array: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of an image (H, W, …)."""
    y, x = ((n - side) // 2 for n in array.shape[:2])
    return array[y : y + side, x : x + side]


def middles(cases: list[Case]) -> tuple[list[Case], list[Case]]:
    """Known cases to tune methods on, and unseen ones."""
    return [case.middle(EFFORT.known) for case in cases[:LEARNED]], [c.middle(EFFORT.unseen) for c in cases[LEARNED:]]


def micrographs() -> tuple[list[Path], list[Path], list[np.ndarray], list[np.ndarray]]:
    """Paths of images and truths, and what they hold."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} does not exist. Put the folder of real images beside the checkout, or run the part lines.")
    images, truths = ([DATA / f"{kind}_{k:02d}.png" for k in range(15)] for kind in ("image", "truth"))
    values = [read_image(path)[..., None].astype(np.float32) / 255 for path in images]
    return images, truths, values, [read_truth(path)[0] for path in truths]


def em() -> tuple[Rows, str]:
    images, truths, values, labels = micrographs()
    pixels, true = (np.concatenate([x.ravel() for x in xs[:LEARNED]]) for xs in (values, labels))
    means = np.array([[pixels[true == j].mean()] for j in (0, 1)])
    cases = [Case(x, t, gpulaf.labeling.distances(x, means)) for x, t in zip(values, labels, strict=True)]
    known, unseen = middles(cases)
    plain, moved = classical("em", known, unseen), classical("em, offset", known, unseen, 1, (0.05, 0.1, 0.2))
    job = Job({}, EFFORT.micrographs, images[:LEARNED], truths[:LEARNED])
    own = {
        "predictor 3×3": [{"time": 3.0}, {"time": 6.0}, {"time": 6.0, "rho": 0.3}],
        "predictor, larger": [{"time": 6.0, "features": f, "radius": 2} for f in (gaussian_features, both)],
    }
    offset = next(r["settings"]["offset"] for r in moved if r["method"] == "bilateral")
    for name, candidates in own.items():
        options = chosen(job, candidates)
        plain += predicted("em", name, job._replace(options=options), unseen)
        soft = [case.shifted(offset).probabilities(options.get("rho", 0.1)) for case in cases]
        soft = [np.ascontiguousarray(from_rows(p)) for p in soft]
        with stored(soft[:LEARNED]) as paths:
            other = job._replace(options=options | {"rho": 1.0}, probabilities=paths)
            unseen_soft = [middle(p, EFFORT.unseen) for p in soft[LEARNED:]]
            moved += predicted("em, offset", name, other, unseen, unseen_soft, 1)
    claims = " and ".join(against(plain, name) for name in own), " and ".join(against(moved, name) for name in own)
    return plain + moved, (
        f"wrong pixels of five unseen micrographs: by the distance to the class means {claims[0]}; "
        f"with an offset {claims[1]}."
    )


def classifier(values: Sequence[np.ndarray], labels: Sequence[np.ndarray], seed: int = 0) -> Any:
    """Gradient-boosted trees of Gaussian features, from 10,000 pixels of each image."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(seed)
    at = [rng.choice(x.size, 10_000, replace=False) for x in labels]
    features = np.concatenate([flat_features(x)[k] for x, k in zip(values, at, strict=True)])
    return HistGradientBoostingClassifier(random_state=seed).fit(
        features, np.concatenate([x.ravel()[k] for x, k in zip(labels, at, strict=True)])
    )


def flat_features(image: np.ndarray) -> np.ndarray:
    """(H·W, F) features."""
    return from_rows(gaussian_features(image)).reshape(image.shape[0] * image.shape[1], -1)


def classified(values: list[np.ndarray], labels: list[np.ndarray]) -> list[np.ndarray]:
    """(H, W, 2) float32 probabilities; those of a training image come from a classifier that has not seen it."""
    half = LEARNED // 2
    parts = {(0, half): (half, LEARNED), (half, LEARNED): (0, half), (LEARNED, 15): (0, LEARNED)}
    found = []
    for (first, last), (start, stop) in parts.items():
        model = classifier(values[start:stop], labels[start:stop])
        for image in values[first:last]:
            p = model.predict_proba(flat_features(image)).astype(np.float32)
            found.append(p.reshape(*image.shape[:2], 2))
    return found


def soft() -> tuple[Rows, str]:
    _, truths, values, labels = micrographs()
    found = classified(values, labels)
    costs = [-np.log(to_rows(p).clip(1e-6)) for p in found]
    cases = [Case(x, t, d) for x, t, d in zip(values, labels, costs, strict=True)]
    known, unseen = middles(cases)
    rows = classical("soft", known, unseen, unit=10)
    # the predictor sees the probability of the membrane as a second channel
    seen = [np.concatenate([x, p[..., :1]], axis=-1) for x, p in zip(values, found, strict=True)]
    parts = [[middle(x, EFFORT.unseen) for x in xs[LEARNED:]] for xs in (seen, found)]
    unseen = [case._replace(image=x) for case, x in zip(unseen, parts[0], strict=True)]
    names = {"predictor, grey": of_grey, "predictor, grey and p": of_both}
    with stored(seen[:LEARNED]) as images, stored(found[:LEARNED]) as paths:
        job = Job({}, EFFORT.micrographs, images, truths[:LEARNED], paths)
        candidates = [{"rho": 1.0, "time": 3.0}, {"rho": 2.0, "time": 6.0}]
        best = chosen(job, [c | {"features": of_grey, "radius": 2} for c in candidates])
        for name, features in names.items():
            own = job._replace(options=best | {"features": features})
            rows += predicted("soft", name, own, unseen, parts[1])
    claims = " and ".join(against(rows, name) for name in names)
    return rows, f"wrong pixels of five unseen micrographs, cleaning up a classifier: {claims}."


def speed() -> tuple[Rows, str]:
    side, steps = (32, 2) if ASKED.quick else (512, 100)
    scenes = [gpulaf.scenes.voronoi_lines(side, sites=max(5, 480 * side**2 // 512**2), seed=seed) for seed in range(10)]
    job = Job({}, {"steps": steps}, [s.image for s in scenes], [s.truth for s in scenes])
    _, seconds, memory = alone(job)
    row = {"images": len(scenes), "side": side, "steps": steps, "s": seconds, "MB": memory}
    taken = f"{seconds:.0f} s and {memory:.0f} MB"
    return [row], f"{steps} steps on ten images of {side}² take {taken}, the images among them."


def against(rows: Rows, name: str) -> str:
    """A predictor, mean over its seeds, held against the simple rows and against all without learning."""
    mine = float(np.mean([r["wrong %"] for r in rows if r["method"].startswith(f"{name}, seed")]))
    simple = [r for r in rows if r["method"] in ("pixelwise", "uniform", "bilateral")]
    every = [r for r in rows if not r["method"].startswith("predictor")]
    text = [f"{name} {mine:.2f} %"]
    for which, kept in (("pixelwise, uniform, bilateral", simple), ("all without learning", every)):
        best = min(kept, key=lambda r: r["wrong %"])
        share = 100 * (1 - mine / best["wrong %"])
        how = f"{abs(share):.0f} % {'fewer' if share >= 0 else 'more'} than"
        text.append(f"{how} the best of {which} ({best['method']}, {best['wrong %']:.2f} %)")
    return ", ".join(text)


def shown(rows: Rows) -> Rows:
    """Rows as they are printed and kept: settings in words, the images in one cell."""
    return [
        r | {"settings": spelled(r["settings"]), "each": " ".join(f"{x:.2f}" for x in r["each"])} if "each" in r else r
        for r in rows
    ]


def figure(rows: Rows) -> Any:
    """Bars for the mean of all parts that were measured, points for the images."""
    parts = list(dict.fromkeys(r["part"] for r in rows))
    plot, lines = canvas(-(-len(parts) // 2), 2, width=5.5, height=2.9)
    axes = lines.ravel()
    for axis in axes[len(parts) :]:
        axis.set_axis_off()
    for axis, part in zip(axes, parts, strict=False):
        kept = [r for r in rows if r["part"] == part]
        plain(axis, f"{part}: % wrong pixels of unseen images", "", "")
        axis.grid(False)
        for y, r in enumerate(kept):
            learned, each = r["method"].startswith("predictor"), [float(x) for x in r["each"].split()]
            axis.barh(y, r["wrong %"], color=COLORS[0] if learned else COLORS[6], height=0.75)
            axis.plot(each, len(each) * [y], ".", color=ALARM if learned else "#666666", ms=5)
            axis.text(max(each), y, f"  {r['wrong %']:.2f}", va="center", fontsize=8)
        axis.set_yticks(range(len(kept)), [r["method"] for r in kept])
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_xlim(left=0)
    words = "bars: mean of five unseen images\npoints: each of them\nblue: predicted weights\ngrey: without learning"
    if len(parts) < len(axes):
        axes[-1].text(0.1, 0.5, words, transform=axes[-1].transAxes, fontsize=10, va="center", linespacing=1.6)
    return plot


def kept_rows() -> Rows:
    """Rows of all parts whose results are there, measured now or before."""
    paths = [ASKED.output / f"quality-{part}.json" for part in ("lines", "em", "soft")]
    return [row for path in paths if path.exists() for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def main() -> None:
    global EFFORT
    parts = {"lines": lines, "em": em, "soft": soft, "speed": speed}
    named = {"nargs": "*", "metavar": "PART", "help": "lines, em, soft, speed; the first three; with --quick lines"}
    asked = command(__doc__, needs=("maxflow", "skimage", "sklearn"), more={"parts": named})
    names = asked.parts or (["lines"] if asked.quick else ["lines", "em", "soft"])
    if not set(names) <= set(parts):
        sys.exit(f"parts are {names}; accepted are {', '.join(parts)}.")
    EFFORT = QUICK if asked.quick else USUAL
    check_cut()
    for name in names:
        with threadpool_limits(1, user_api="blas"):  # conjugate gradients are four times slower with two
            rows, answer = parts[name]()
        save(shown(rows), answer, name=f"quality-{name}")
    if asked.output is not None and (rows := kept_rows()):
        write_figure(asked.output / "quality.png", figure(rows))


if __name__ == "__main__":
    main()
