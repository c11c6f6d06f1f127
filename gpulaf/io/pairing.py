"""Pair images with their ground truth by the names of their files, never by their order alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from warnings import warn

from .contents import READABLE, is_readable, stem
from .images import FileWarning
from .zarrs import is_zarr

__all__ = ["expanded", "paired"]

WORDS = re.compile(r"\d+|[^\W\d_]+|[\W_]")


def expanded(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand files, folders and globs to image files; one that is named twice is taken once, with a FileWarning.

    Parameters
    ----------
    sources : strings or paths
        A file, a folder (its image files, sorted, without those of its folders) or a glob (sorted; ``**`` for folders
        in folders).

    Raises
    ------
    FileNotFoundError
        If a name stands for no file.
    """
    found = dict[Path, Path]()
    for file in (file for source in sources for file in _files(os.path.expanduser(source))):
        if found.setdefault(file.resolve(), file) is not file:
            warn(f"{file} is named twice; it is taken once.", FileWarning, stacklevel=2)
    return list(found.values())


def paired(images: Sequence[Path], others: Sequence[Path], what: str = "truth") -> list[Path]:
    """Find the partner of every image among `others`, in the order of the images.

    They match if their stems are equal; or the stems without the words that all files of a side begin and end with
    (``image_03`` and ``truth_03``); or so the paths (``a/image`` and ``a/truth``). Digits and letters are words.

    Parameters
    ----------
    images, others : sequences of paths
    what : str
        What the others are, for the error.

    Raises
    ------
    ValueError
        With the first files of each side that match none, or a file that stands on both sides.
    """
    both = set(images) & set(others)
    if both:
        raise ValueError(
            f"{min(both)} is given as an image and as its {what}. Name the files apart, or by a quoted glob."
        )
    fewest: list[list[Path]] | None = None
    for keys in (_stems, _words_of_stems, _words_of_paths):
        left, right = (dict(zip(keys(side), side, strict=True)) for side in (images, others))
        if len(left) < len(images) or len(right) < len(others):
            continue  # two files of one side would be the same
        alone = [[left[k] for k in left if k not in right], [right[k] for k in right if k not in left]]
        if alone == [[], []]:
            return [right[k] for k in left]
        fewest = alone if fewest is None or sum(map(len, alone)) < sum(map(len, fewest)) else fewest
    raise ValueError(_mismatch(fewest or [list(images), list(others)], what))


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_file() or (path.exists() and is_zarr(path)):
        return [path]
    if path.is_dir():
        found = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    elif has_magic(source):
        found = [Path(p) for p in glob(source, recursive=True) if Path(p).is_file()]
    else:
        raise FileNotFoundError(f"{source} does not exist. Check the path; put a glob in quotes.")
    found = sorted(p for p in found if is_readable(p))
    if not found:
        what = "holds" if path.is_dir() else "matches"
        raise FileNotFoundError(f"{source} {what} no image file; accepted are {', '.join(sorted(READABLE))}.")
    return found


def _stems(paths: Sequence[Path]) -> list[Hashable]:
    return [stem(path) for path in paths]


def _words_of_stems(paths: Sequence[Path]) -> list[Hashable]:
    return _without_shared([stem(path) for path in paths])


def _words_of_paths(paths: Sequence[Path]) -> list[Hashable]:
    return _without_shared([path.with_name(stem(path)).as_posix() for path in paths])


def _without_shared(names: list[str]) -> list[Hashable]:
    """The words of each name without those that all names begin and end with."""
    words = [tuple(WORDS.findall(name)) for name in names]
    first = _shared(words)
    last = _shared([w[first:][::-1] for w in words])
    return [w[first : len(w) - last] for w in words]


def _shared(words: Sequence[tuple[str, ...]]) -> int:
    alike: Callable[[tuple[str, ...]], bool] = lambda column: len(set(column)) == 1  # noqa: E731
    return sum(1 for _ in takewhile(alike, zip(*words, strict=False)))


def _mismatch(alone: list[list[Path]], what: str) -> str:
    said = []
    for files, one, other in ((alone[0], "image", what), (alone[1], what, "image")):
        if files:
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            said.append(f"no {other} for the {one} {', '.join(map(str, files[:3]))}{more}")
    return (
        f"names do not match: {'; '.join(said)}. Accepted are equal names, or names that differ in how all of them "
        f"begin or end (image_03, {what}_03). Rename the files, or choose them by a quoted glob."
    )
