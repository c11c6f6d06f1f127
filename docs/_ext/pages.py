"""Pages of the documentation that follow from the code and from measurements: API, commands, tables of results.

Without Sphinx; conf.py writes them to docs/generated before a build.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import click

import gpulaf
from gpulaf.cli import main

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "perf" / "results"
#: Rooms that are no library.
CLOSED = {"cli", "experiments", "kernels"}
#: What is said of a class: its methods and attributes, and those that it has from classes of gpulaf.
MEMBERS = "   :members:\n   :inherited-members: tuple, BaseException\n   :special-members: __call__\n"


def write(folder: Path) -> None:
    """Write all generated pages; a file that would not change keeps its time."""
    pages = {**api(), "commands.rst": commands()}
    tables = (
        quality, settings, layers, patches, ranks, solvers, gradients, without_truth, flips, certificates, label_sets,
    )  # fmt: skip
    pages |= {f"{table.__name__}.md": table() for table in tables}
    target = folder / "generated"
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = target / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# the API


def rooms() -> list[str]:
    """Modules with public names, gpulaf itself first; what needs a package that is missing is left out."""
    found = ["gpulaf"]
    for info in pkgutil.iter_modules(gpulaf.__path__[:1], "gpulaf."):
        if info.name.split(".")[1] not in CLOSED and not info.name.split(".")[1].startswith("_"):
            try:
                module = importlib.import_module(info.name)
            except ImportError:
                continue
            if getattr(module, "__all__", None):
                found.append(info.name)
    return found


def api() -> dict[str, str]:
    """A page for each room, and the list of them."""
    names = rooms()
    listed = "\n".join(f"   {name}" for name in names)
    index = f"{_title('API reference')}\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    return {"api.rst": index} | {f"{name}.rst": room(name) for name in names}


def room(name: str) -> str:
    """The docstring of a room, a table of its public names, and each of them; those of gpulaf itself stand there."""
    module = importlib.import_module(name)
    face = {id(getattr(gpulaf, x)): f"gpulaf.{x}" for x in gpulaf.__all__}
    full = [face.get(id(getattr(module, x)), f"{name}.{x}") for x in sorted(module.__all__) if x != "__version__"]
    table = "\n".join(f"   {x.removeprefix(f'{name}.') if _own(x, name) else f'~{x}'}" for x in full)
    own = "\n".join(_documented(x) for x in full if _own(x, name))
    head = f".. automodule:: {name}\n"
    return f"{_title(name)}\n\n{head}\n.. autosummary::\n   :nosignatures:\n\n{table}\n\n{own}"


def _own(name: str, room: str) -> bool:
    """Whether a full name is documented on the page of a room."""
    return name.rpartition(".")[0] == room


def _documented(name: str) -> str:
    thing = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    kind = "class" if inspect.isclass(thing) else "function" if callable(thing) else "data"
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        kind = "exception"
    return f".. auto{kind}:: {name}\n{MEMBERS if kind == 'class' else ''}"


# the command line


def commands() -> str:
    """Every command with its usage, help and options, in reStructuredText."""
    parts = [_title("The command line"), "", _paragraphs(main.help), ""]
    for name, command in sorted(main.commands.items()):
        context = click.Context(command, info_name=f"gpulaf {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        parts += [_title(name, "-"), "", ".. code-block:: none", "", f"   gpulaf {name} {usage}", ""]
        parts += [_paragraphs(command.help), "", f".. program:: gpulaf {name}", ""]
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Option) and record and "--debug" not in record[0]:
                parts += [f".. option:: {record[0]}", "", f"   {_escaped(' '.join(record[1].split()))}", ""]
    return "\n".join(parts)


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(_escaped(" ".join(x.split())) for x in inspect.cleandoc(text or "").split("\n\n"))


def _escaped(text: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}"


# tables of results

#: What the parts of perf/quality.py are.
PROBLEMS = {
    "lines 0.3": "lines of one pixel, noise 0.3",
    "lines 0.5": "lines of one pixel, noise 0.5",
    "colors 0.55": "cells of eight colors, noise 0.55",
    "em": "electron micrographs, grey value",
    "soft": "the same, behind a classifier",
    "vnc": "nine classes, behind a classifier",
}


def quality() -> str:
    """Wrong pixels of unseen images for ways to make weights, of all problems that were measured."""
    ways = ("pixelwise", "uniform", "bilateral", ("prototypes", "predictor"), "network")
    lines = [
        [words, *(f"{best['wrong %']:.2f} %" if (best := _best(rows, way)) else "–" for way in ways)]
        for words, rows in _problems()
    ]
    return _table(["images", "pixelwise", "uniform", "bilateral", "`WeightPredictor`", "`WeightNetwork`"], lines)


def settings() -> str:
    """The settings without learning that had the fewest wrong pixels on training images."""
    lines = [
        [words, *(_said(best["settings"]) if (best := _best(rows, way)) else "–" for way in ("uniform", "bilateral"))]
        for words, rows in _problems()
    ]
    return _table(["images", "uniform", "bilateral"], lines)


def _problems() -> list[tuple[str, list[dict[str, Any]]]]:
    """What was measured of perf/quality.py, in words, and its rows."""
    measured = [row for path in sorted(RESULTS.glob("quality-*.json")) for row in _rows(path)]
    found = [(words, [row for row in measured if row["part"] == part]) for part, words in PROBLEMS.items()]
    return [(words, rows) for words, rows in found if rows]


def _best(rows: Sequence[dict[str, Any]], ways: str | tuple[str, ...]) -> dict[str, Any] | None:
    """The row of fewest wrong pixels of a method, in any variant of it; seeds of one variant are averaged."""
    variants = defaultdict(list)
    for row in rows:
        if row["method"].startswith(ways):
            variants[re.sub(r", seed \d+$", "", row["method"])].append(row)
    means = [group[0] | {"wrong %": mean(row["wrong %"] for row in group)} for group in variants.values()]
    return min(means, key=lambda row: row["wrong %"], default=None)


def _said(settings: str) -> str:
    signs = {"rho": "ρ", "time": "T", "sigma": "σ", "radius": "radius"}
    chosen = dict(x.split("=", 1) for x in settings.split())
    return ", ".join(f"{sign} = {chosen[key]}" for key, sign in signs.items() if key in chosen)


def layers() -> str:
    """Wrong pixels against the number of flows, at the two times."""
    found = _means("depth.csv", ("scene", "T", "how", "layers"), "wrong %", weights="own weights")
    numbers = sorted({int(key[3]) for key in found})
    kinds = sorted({key[:3] for key in found}, key=lambda key: (key[2], key[0], float(key[1])), reverse=True)
    lines = [
        [f"{scene}, {how}, T = {float(T):g}", *(f"{found[scene, T, how, str(n)]:.2f}" for n in numbers)]
        for scene, T, how in kinds
    ]
    return _table(["wrong pixels, %", *(f"{n} flow{'s' * (n > 1)}" for n in numbers)], lines)


def patches() -> str:
    """What larger weight patches bring and cost."""
    columns = ("uniform wrong %", "wrong %", "training step seconds", "labeling seconds")
    found = {x: _means("neighborhoods.csv", ("scene", "side"), x) for x in columns}
    forms = "{:.2f}", "{:.2f}", "{:.3f}", "{:.4f}"
    lines = [
        [f"{key[0]}, {key[1]}×{key[1]}", *(form.format(found[x][key]) for x, form in zip(columns, forms, strict=True))]
        for key in found["wrong %"]
    ]
    heads = ["weights", "uniform: wrong, %", "predicted: wrong, %", "training step, s", "labeling, s"]
    return _table(heads, lines)


def ranks() -> str:
    """Pixels whose gradient of low rank points where the exact one does."""
    share = "% of pixels with cosine >= 0.9"
    found = _means("fig3.csv", ("scene", "T", "rank"), share, truncation="mean kept", steps="0")
    numbers = sorted({key[2] for key in found})
    lines = [
        [f"{scene}, T = {float(T):g}", *(f"{found[scene, T, r]:.2f} %" for r in numbers)]
        for scene, T in dict.fromkeys(key[:2] for key in found)
    ]
    return _table(["gradient", *(f"rank {r}" for r in numbers)], lines)


def solvers() -> str:
    """Error and time of the solvers at their tolerances."""
    kept = [
        row for row in _rows(RESULTS / "solvers.json")
        if row["form"] == "ours" and re.fullmatch(r"(Taylor|Krylov) tol .*|Euler (10|100)", row["solver"])
    ]  # fmt: skip
    lines = [[f"`{row['solver']}`", f"{row['error']:.0e}", f"{row['ms']:.1f}"] for row in kept]
    return _table(["solver", "error of v, relative", "ms"], lines)


def gradients() -> str:
    """Time, error and memory of a gradient beside automatic differentiation, and the time of a fit."""
    lines = [[row["method"], f"{row['ms']:.0f}", f"{row['error']:.0e}", f"{row['MB']:.0f}"]
             for row in _rows(RESULTS / "autodiff.json")]  # fmt: skip
    said = (
        "One loss and its gradient in Ω at 512×512 pixels with 10 labels, float32, on two shared cores "
        "(`perf/autodiff.py`); errors are relative, memory is what a call adds:"
    )
    fit = json.loads((RESULTS / "fit.json").read_text(encoding="utf-8"))["answer"]
    return f"{said}\n\n{_table(['way', 'ms', 'error', 'MB'], lines)}\nLearning (`perf/fit.py`): {fit}\n"


#: What the rows of perf/blind_spot.py are: part, and how the methods begin that learn.
LEARNED = {
    "lines, four images of 80²": ("lines 0.3", "few, "),
    "the same, `WeightPredictor`": ("lines 0.3", "few, prototypes, "),
    "lines, sixteen images of 128²": ("lines 0.3", "many, "),
    "lines, the unseen images themselves": ("lines 0.3", "unseen images themselves, "),
    "cells of eight colors, sixteen images of 80²": ("colors 0.55", "many, "),
    "lines, noise blurred by 0.5 pixels": ("lines 0.3, noise blurred by 0.5", "few, "),
    "lines, noise blurred by 0.7 pixels": ("lines 0.3, noise blurred by 0.7", "few, "),
    "lines, noise blurred by 1 pixel": ("lines 0.3, noise blurred by 1", "few, "),
    "electron micrographs, grey value": ("em", ""),
}


def without_truth() -> str:
    """Wrong pixels of unseen images by weights that were learned without ground truth, and with it."""
    rows, lines = _rows(RESULTS / "blind_spot.json"), []
    for words, (part, start) in LEARNED.items():
        methods = "pixelwise", "uniform weights", f"{start}without truth", f"{start}with truth"
        own = [[r for r in rows if (r["part"], r["method"]) == (part, method)] for method in methods]
        cells = [f"{mean(r['wrong %'] for r in found):.2f} %" if found else "–" for found in own]
        lines.append([words, *cells, own[2][0]["warned"]])
    return _table(["learned from", "pixelwise", "uniform", "without truth", "with truth", "warned"], lines)


def flips() -> str:
    """How flip probabilities order pixels beside draws of noise, and how much faster."""
    cases: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in _rows(RESULTS / "uncertainty.json"):
        cases[row["scene"], row["weights"], row["rho"]][row["method"]] = row
    methods = list(next(iter(cases.values())))
    lines = []
    for (scene, weights, rho), found in cases.items():
        ranks = [f"{found[name]['rank']:.2f}, {found[name]['rank, flipped']:.2f}" for name in methods]
        ours = found[methods[0]]
        mean = f"{ours['mean %']:.1f} of {ours['% of draws']:.1f}"
        faster = f"{ours['times faster']:.0f}, {found[methods[1]]['times faster']:.0f}"
        lines.append([f"{scene}, {weights}, ρ = {rho:g}", *ranks, mean, faster])
    heads = ["scene, weights", *methods, "mean, %", f"times faster, {methods[0]}, {methods[1]}"]
    return _table(heads, lines)


def certificates() -> str:
    """Which labels are proven, and flips by attacks."""
    sizes, factors = (0.01, 0.02, 0.05), (1, 2, 4)
    heads = [
        "scene, flows", "exact, %", "ρ·radius, median", *(f"stay at ±{x}, %" for x in sizes),
        "flips by attacks at 1, 2, 4 radii",
    ]  # fmt: skip
    lines = [
        [f"{row['scene']}, ρ = {row['rho']:g}, {row['flows']}", f"{row['% exact']:.2f}", f"{row['radius 50 %']:.3f}",
         *(f"{row[f'% stay at {x}']:.1f}" for x in sizes),
         f"{', '.join(str(row[f'flips at {x}×']) for x in factors)} of {row['attacks']}"]
        for row in _rows(RESULTS / "certificates.json")
    ]  # fmt: skip
    return _table(heads, lines)


def label_sets() -> str:
    """Coverage and size of conformal sets."""
    heads = ["scene, weights", "wrong, %", "asked, %", "held, %", "worst label", "± over images", "labels", "empty, %"]
    keys = ("% held", "% held, worst label", "± over images", "labels", "% empty")
    lines = [
        [f"{row['scene']}, {row['weights']}, ρ = {row['rho']:g}", f"{row['% wrong']:.2f}", f"{row['% asked']:g}",
         *(f"{row[key]:.2f}" for key in keys)]
        for row in _rows(RESULTS / "label_sets.json")
    ]  # fmt: skip
    return _table(heads, lines)


def _rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def _means(name: str, keys: Sequence[str], value: str, **kept: str) -> dict[tuple[str, ...], float]:
    """The mean of a column of a table in perf/results/reproduced over rows that are alike in some others."""
    found = defaultdict(list)
    with (RESULTS / "reproduced" / name).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if all(row[key] == x for key, x in kept.items()):
                found[tuple(row[key] for key in keys)].append(float(row[value]))
    return {key: mean(values) for key, values in found.items()}


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines)) + "\n"


# the gallery

GALLERY = (
    "photo", "soft_predictions", "choosing", "learning_weights", "unseen_images", "big_image", "volume",
)  # fmt: skip


class Order:
    """The order of the gallery, for sphinx-gallery."""

    def __init__(self, folder: str) -> None: ...

    def __call__(self, name: str) -> int:
        """The place of a script; one that is not listed is an error."""
        return GALLERY.index(Path(name).stem)
