"""What the paper says, beside what the experiments give: a table at the head of the report.

Numbers of ours come from tables of the experiments. Of the paper's text only the abstract and the beginning of the
introduction were read, and the abstract of its forerunner; findings of Sect. 4 are known from second hand, and stand in
a table of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import cost, dimension, fig2, fig3, fig4, fig5
from .result import ExperimentResult, only, select

#: Zeilmann, Petra, Schnörr, J. Math. Imaging Vis. 65 (2023), and its forerunner of the same authors, SSVM 2021.
ABSTRACT, FORERUNNER, SECOND_HAND = "abstract", "abstract of SSVM 2021", "second hand"
#: Titles of the tables, and whether their claims were read.
TITLES = {"Read in abstracts": True, "Known of Sect. 4 from second hand, not read": False}
UNREAD = (
    "Of the paper, the abstract and the beginning of the introduction were read, and of its forerunner (A. Zeilmann, "
    "S. Petra, C. Schnörr, SSVM 2021) the abstract; their only number is that of the 512×512 image. Sect. 4 was not "
    "read: the paper's values of T, ρ, m, τ, step sizes and numbers of scenes are not compared, nor its runtimes "
    "(Fig. 2), its angles (Fig. 3), its errors on unseen images (Fig. 5), and the image and the machine of its 500 MB."
)


class Claim(NamedTuple):
    """A statement of the paper that an experiment checks."""

    #: What is said, where, and the number if there is one.
    text: str
    source: str
    claimed: str
    #: The experiment, and what its tables say.
    experiment: str
    ours: Callable[[ExperimentResult], str]
    settings: str


def _three_gradients(found: ExperimentResult) -> str:
    rows, parts = found.tables["fig2"], []
    for noise in ("noisy", "noiseless"):
        mine = select(rows, image=noise)
        ours = fig2.curve(select(mine, gradient=fig2.OURS), "loss").mean(axis=0)
        others = [name for name in dict.fromkeys(row["gradient"] for row in mine) if name != fig2.OURS]
        gaps = [abs(fig2.curve(select(mine, gradient=name), "loss").mean(axis=0) / ours - 1).max() for name in others]
        parts.append(f"{100 * max(gaps):.2g} % on {noise} images")
    return f"mean losses differ by at most {' and '.join(parts)}"


def _seconds(found: ExperimentResult) -> str:
    rows = found.tables["cost"]
    large = select(rows, side=max(row["side"] for row in rows))
    listed = ", ".join(
        f"{row['scene']} {row[cost.PROCESSOR]:.1f} s of processors, {row[cost.WALL]:.1f} s by the clock"
        for row in large
    )
    return f"{large[0]['side']}×{large[0]['side']}, {large[0]['steps']} steps: {listed}"


def _megabytes(found: ExperimentResult) -> str:
    return ", ".join(
        f"{row['scene']} of {row['side']}×{row['side']} {row[cost.PEAK] / 1e6:.0f} MB" for row in found.tables["cost"]
    )


def _angles(found: ExperimentResult) -> str:
    rows = found.tables["fig3"]
    shares = {
        truncation: [
            only(rows, fig3.SHARE, scene="lines", T=time, rank=1, steps=0, truncation=truncation) for time in fig3.TIMES
        ]
        for truncation in (fig3.WHOLE, fig3.KEPT)
    }
    return ", ".join(f"{name} {' / '.join(f'{x:.2f}' for x in values)} %" for name, values in shares.items())


def _krylov(found: ExperimentResult) -> str:
    losses = {
        m: fig4.mean(found.tables["fig4"], "loss", varied="m", value=m, T=3.0) for m in (2, 5, 10)
    }  # fmt: skip
    gap, worse = (abs(losses[m] / losses[10] - 1) for m in (5, 2))
    return f"m = 5 and 10: losses within {100 * gap.max():.2g} %; m = 2: last loss {100 * worse[-1]:.0f} % larger"


def _rank(found: ExperimentResult) -> str:
    one, full = (fig4.mean(found.tables["fig4"], "loss", varied="rank", value=rank) for rank in (1, 10))
    return f"losses within {100 * abs(one / full - 1).max():.2g} % of those of full rank"


def _times(found: ExperimentResult) -> str:
    ends = {time: fig4.mean(found.tables["fig4"], "loss", varied="T", value=time)[-1] for time in fig4.TIMES}
    return "last losses " + ", ".join(f"{loss:.2g} at T = {time:g}" for time, loss in ends.items())


def _low_dimension(found: ExperimentResult) -> str:
    rows = found.tables["subspace"]
    ratios = np.array([row["sigma 1"] / row["sigma 2"] for row in rows])
    return f"first singular value of the core {ratios.min():.3g} to {ratios.max():.3g} times the second"


def _directions(found: ExperimentResult) -> str:
    rows, parts = found.tables["dimension"], []
    for name in dimension.SCENES:
        mine = select(rows, learned=f"weights of {name}", side=max(row["side"] for row in rows))
        path = select(mine, kind=dimension.PATH, d=1)[0][dimension.LOSS]
        needed = dimension.smallest(select(mine, kind=dimension.RANDOM), dimension.LOSS)
        random = f"{np.median(needed):.0f}" if needed else "no number"
        parts.append(f"{name}: one direction of the path keeps {path:.0f} %, 90 % take {random} random ones")
    return "; ".join(parts)


def _unseen(found: ExperimentResult) -> str:
    wrong = [np.mean([r["wrong %"] for r in select(found.tables["fig5"], method=m)]) for m in fig5.METHODS]
    count = len(select(found.tables["fig5"], method=fig5.METHODS[0]))
    return ", ".join(f"{m} {x:.2f} %" for m, x in zip(fig5.METHODS, wrong, strict=True)) + f" wrong on {count} images"


CLAIMS = (
    Claim("Trains as automatic differentiation does", ABSTRACT, "as good", "fig2", _three_gradients,
          "colors, T = 3, m = 10, rank 1"),
    Claim("The parameters of a 512×512 image are learned fast", FORERUNNER, "under 10 s", "cost", _seconds,
          "T = 3, m = 10, rank 1, this machine's CPU"),
    Claim("Parameters and their dynamics have a low-dimensional representation", ABSTRACT, "no number", "subspace",
          _low_dimension, "lines, T = 3, m = 10, the training by rank 1"),
    Claim("The same, by subspaces in which the training is as good", ABSTRACT, "no number", "dimension", _directions,
          "T = 3, the gain in loss of training all weights"),
    Claim("Rank 1 points where the exact gradient points: cosine of at least 0.9 (Fig. 3)", SECOND_HAND,
          "over 99 % of the pixels", "fig3", _angles, "lines, T = 1 / 3 / 5, uniform weights"),
    Claim("A small Krylov dimension is enough (Fig. 4)", SECOND_HAND, "m from 5 to 10", "fig4", _krylov,
          "colors, T = 3, full rank"),
    Claim("Rank 1 is enough (Fig. 4)", SECOND_HAND, "rank 1", "fig4", _rank, "colors, T = 3, m = 10"),
    Claim("Small T train well, larger T slower (Fig. 4)", SECOND_HAND, "no number", "fig4", _times,
          "colors, rank 1"),
    Claim("Predicted weights label unseen lines (Fig. 5)", SECOND_HAND, "no number", "fig5", _unseen,
          "lines, T = 3, 50 prototypes"),
    Claim("Learning needs little memory", SECOND_HAND, "under 500 MB", "cost", _megabytes,
          "peak of the process, Python and libraries included"),
)  # fmt: skip


def table(results: dict[str, ExperimentResult]) -> str:
    """The claims in Markdown: what is said, where, the number, ours and its settings."""
    parts = ["## The paper's claims and ours"]
    for title, read in TITLES.items():
        parts.append(f"\n{title}:\n\n| Claim | where | claimed | ours | settings of ours |\n|---|---|---|---|---|")
        for claim in CLAIMS:
            if (claim.source != SECOND_HAND) == read:
                found = results.get(claim.experiment)
                ours = f"`{claim.experiment}` was not run" if found is None else claim.ours(found)
                parts.append(f"| {claim.text} | {claim.source} | {claim.claimed} | {ours} | {claim.settings} |")
    return "\n".join([*parts, "", UNREAD, ""])
