"""An image in blocks that are labeled one after the other: the same numbers, in less memory and time than all at once.

A block with a halo as wide as anything that its labels depend on (:mod:`gpulaf.labeling.halo`) equals that part of the
whole image bit for bit, and its fields stay in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..backend.array import empty
from ..backend.workers import in_order
from ..fields import field_shape, from_rows
from .result import Labeling

__all__ = ["Block", "blocks", "label_blocks"]


class Block(NamedTuple):
    """Rows and columns of a part of an image, and of the same part with its halo."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the part lies in itself with its halo."""
        rows, columns = (
            slice(i.start - o.start, i.stop - o.start) for i, o in zip(self.inner, self.outer, strict=True)
        )
        return rows, columns

    def cuts(self, shape: tuple[int, ...]) -> list[bool]:
        """Whether the part with its halo ends inside the image above, below, on the left and on the right."""
        return [end for o, n in zip(self.outer, shape, strict=True) for end in (o.start > 0, o.stop < n)]


def blocks(counts: Iterable[int], shape: tuple[int, int], halo: int) -> Iterator[Block]:
    """Blocks of an image (H, W), as many below and beside each other as `counts` say, all of about one size."""
    rows, columns = (
        list(pairwise(n * k // count for k in range(count + 1))) for count, n in zip(counts, shape, strict=True)
    )
    for top, bottom in rows:
        for left, right in columns:
            outer = (
                slice(max(0, top - halo), min(shape[0], bottom + halo)),
                slice(max(0, left - halo), min(shape[1], right + halo)),
            )
            yield Block((slice(top, bottom), slice(left, right)), outer)


def label_blocks(
    label: Callable[[Block], Labeling], parts: Sequence[Block], shape: tuple[int, int], *, workers: int = 1
) -> Labeling:
    """Label every block with its halo, as many at a time as there are workers, and put together what lies inside.

    The error is the largest one of a block, relative to its own v, and the reason that of the same block.
    """
    labels: Any = None
    probabilities: Any = None
    worst: Any = None
    for block, found in zip(parts, in_order(label, parts, workers), strict=True):
        if worst is None:
            W = empty(field_shape(shape, found.probabilities.shape[-1]), found.probabilities)
            probabilities, labels = from_rows(W), empty(shape, found.labels)
        probabilities[block.inner] = found.probabilities[block.core]
        labels[block.inner] = found.labels[block.core]
        worst = found if worst is None or found.error > worst.error else worst
    return worst._replace(labels=labels, probabilities=probabilities)
