"""Which axis of a stored array is which: from the letters that a file gives, or from its shape where it gives none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .failures import Unclear, Unreadable

__all__ = ["Ask", "Layout", "check_only", "layout_of"]


class Ask(NamedTuple):
    """What is asked of a file, and what is said of it that it does not say itself."""

    #: A letter for each axis, of t, z, c, y, x.
    axes: str | None = None
    #: The axis of the channels, or of the labels of soft predictions.
    channel_axis: int | None = None
    #: A volume with the axes z, y, x, and no image.
    volume: bool = False
    #: The image of a file that holds several, from 0; where None, the first, which a note says.
    series: int | None = None
    #: Indices into a color table, as label images have them, and no colors.
    indices: bool = False
    #: Soft predictions, whose channels are labels: there must be some.
    soft: bool = False

    @property
    def option(self) -> str:
        """How the command line and Python name the axis of the channels."""
        return "label_axis (--label-axis)" if self.soft else "channel_axis (--channel-axis)"


def check_only(path: Path, ask: Ask) -> None:
    """Raise Unreadable where another image is asked for than the first of a file that holds one."""
    if ask.series:
        raise Unreadable(f"the image is {ask.series}; accepted for {path} is 0, as it holds one. Leave --series out.")


class Layout(NamedTuple):
    """Where the axes of an image lie in a stored array, and how its values are meant."""

    #: One letter per axis of the stored array: z, y, x, c, or 1 for an axis of length 1 that is left out.
    axes: str
    #: Channels that are read; None for a grey image.
    channels: int | None
    #: Where among the stored channels alpha is, which is not read as one.
    alpha: int | None = None
    #: Axes along which the image is stored backwards.
    flips: str = ""
    #: The value that is black where white is 0.
    white: int | None = None
    #: Whether the values stand for colors of a table.
    palette: bool = False


def layout_of(
    axes: str | None, shape: tuple[int, ...], path: Path, ask: Ask, scale: tuple[float, ...] | None = None
) -> tuple[Layout, tuple[str, ...]]:
    """The layout of an array, and lines about what was assumed.

    Parameters
    ----------
    axes : str or None
        The letters that the file gives its axes; other letters than t, z, c, s, y and x are unknown.
    shape : tuple
    path : Path
    ask : Ask
    scale : tuple of float, optional
        Distance of the pixels along (z,) y, x that the file says, for the error of a volume that is read as an image.

    Raises
    ------
    Unreadable
        If it is not clear which axis is which, or it is not what is asked for; with the option that says it.
    """
    notes: tuple[str, ...] = ()
    named = axes if ask.axes is None else _stated(ask, shape, path)
    letters = ["?"] * len(shape) if named is None else [_letter(axis) for axis in named]
    space = "zyx" if ask.volume else "yx"
    axis = None if ask.channel_axis is None else _checked(ask, len(shape))
    if axis is not None and len(shape) <= len(space):
        what = "label" if ask.soft else "channel"
        raise Unreadable(
            f"the {what} axis is {ask.channel_axis}, but {path} is without one, of shape {shape}. Leave it out."
        )
    if axis is not None:
        letters = ["c" if k == axis else "?" if letter == "c" else letter for k, letter in enumerate(letters)]
    _drop_ones(letters, shape, axis, space if named is not None else "", len(space) + (axis is not None or ask.soft))
    rest = [k for k, letter in enumerate(letters) if letter != "1" and k != axis]
    if axis is not None and len(rest) == len(space) and {letters[k] for k in rest} != set(space):
        for k, letter in zip(rest, space, strict=True):  # what the file calls them cannot be
            letters[k] = letter
    unknown = [k for k, letter in enumerate(letters) if letter == "?"]
    left = [letter for letter in space if letter not in letters]
    if named is None and ask.channel_axis is None and len(unknown) == len(left) + 1:
        _check_last(shape, unknown, path, ask)
        letters[unknown[-1]] = "c" if shape[unknown[-1]] > 1 or ask.soft else "1"
        if shape[unknown[-1]] > 4 and not ask.soft:
            told = "×".join(str(shape[k]) for k in unknown[:-1])
            notes += (
                f"{path} is taken as {told} pixels with {shape[unknown[-1]]} channels. Other axes are said by --axes "
                "(axes=), as ZYX, or --channel-axis.",
            )
        unknown = unknown[:-1]
    if len(unknown) == len(left) and (named is None or ask.volume):
        for k, letter in zip(unknown, left, strict=True):
            letters[k] = letter
    known = "".join(letters)
    _check(known, named, shape, path, ask, scale)
    return Layout(known, shape[known.index("c")] if "c" in known else None), notes


def _letter(axis: str) -> str:
    axis = axis.lower()
    return "c" if axis == "s" else axis if axis in "tzcyx" else "?"


def _stated(ask: Ask, shape: tuple[int, ...], path: Path) -> str:
    """The letters of --axes, one for each axis; those of length 1 may be left out."""
    given = str(ask.axes).lower()
    long = [k for k, n in enumerate(shape) if n != 1]
    if ask.channel_axis is not None:
        raise Unreadable(f"axes {ask.axes!r} and {ask.option} are given; accepted is one of them. Leave one out.")
    unfit = set(given) - set("tzcsyx") or len(set(given)) < len(given) or not {"y", "x"} <= set(given)
    if unfit or len(given) not in (len(shape), len(long)):
        raise Unreadable(
            f"axes are {ask.axes!r}; accepted for {path} of shape {shape} is one letter for each axis: y, x, and of z, "
            "c and t those that there are. Say for example --axes CYX."
        )
    if len(given) == len(shape):
        return given
    return "".join(given[long.index(k)] if k in long else "1" for k in range(len(shape)))


def _checked(ask: Ask, count: int) -> int:
    axis = ask.channel_axis
    what = "label" if ask.soft else "channel"
    if axis is None or not -count <= axis < count:
        raise Unreadable(f"the {what} axis is {axis}; accepted are {-count} to {count - 1}. Count the axes from 0.")
    return axis % count


def _drop_ones(letters: list[str], shape: tuple[int, ...], axis: int | None, kept: str, least: int) -> None:
    """Leave out axes of length 1: those whose letters are not `kept`; without letters leading ones, until few are left.

    A leading one is a batch of one image; a later one may be a row, a column or a channel.
    """
    for k, n in enumerate(shape):
        if n != 1 and not kept and axis is None:
            return
        if n == 1 and k != axis and (letters[k] not in kept if kept else len(shape) - letters.count("1") > least):
            letters[k] = "1"


def _check_last(shape: tuple[int, ...], unknown: list[int], path: Path, ask: Ask) -> None:
    """The last axis of an array without letters holds channels only where it is much shorter than the others."""
    *rest, last = (shape[k] for k in unknown)
    if (last <= 4 and last < min(rest)) or 2 * last <= min(rest):
        return
    what = "labels" if ask.soft else "channels"
    first = min(range(len(rest)), key=lambda k: rest[k])
    guess = f", {unknown[first]} perhaps" if rest[first] < last else ""
    volume = "" if ask.volume or ask.soft else ", or of a volume the --spacing SZ,SY,SX with --axes ZYX"
    raise Unclear(
        f"{path} holds an array of shape {shape} and does not say which axis holds the {what}. Name it with "
        f"{ask.option}{guess}{volume}."
    )


def _check(
    known: str, named: str | None, shape: tuple[int, ...], path: Path, ask: Ask, scale: tuple[float, ...] | None
) -> None:
    """Raise Unreadable unless the axes are those that are asked for."""
    space, what = "zyx" if ask.volume else "yx", "volume" if ask.volume else "image"
    found = sorted(known.replace("1", ""))
    if (found == sorted(space) and not ask.soft) or found == sorted(space + "c"):
        return
    axes = "unnamed" if named is None else named.upper()
    about = f"{path} holds an array of shape {shape} with the axes {axes}"
    if "t" in known:
        times = shape[known.index("t")]
        raise Unreadable(
            f"{about}: {times} images at different times, which are not averaged. Label each by itself; or say with "
            "axes (--axes) that it is depth (Z) or channels (C)."
        )
    if known.count("c") > 1:
        raise Unreadable(f"{about}: two axes of channels. Name one with {ask.option}, and write the others apart.")
    if ask.soft and "c" not in known:
        raise Unreadable(
            f"{about}; accepted are soft predictions with an axis of labels. Name it with {ask.option}; of the "
            "probability p of one class, stack [1 − p, p]."
        )
    if not ask.volume and "z" in known:
        told = ",".join(f"{size:.6g}" for size in scale) if scale and len(scale) == 3 else "SZ,SY,SX"
        raise Unreadable(
            f"{about}: a volume. Say so with --spacing {told}, the distances of its voxels (read_volume in Python); "
            "or say with axes (--axes) what the axis is, as CYX."
        )
    if ask.volume and "z" not in known:
        raise Unreadable(
            f"{about}; accepted as a volume are (D, H, W), and (D, H, W, C) where the file, axes (--axes) or "
            f"{ask.option} names the channels. For one image give two spacings."
        )
    if "?" in known and not ask.volume and len(found) == 3:
        raise Unreadable(
            f"{about} and does not say which axis holds the channels. Name it with {ask.option}, or the axes with axes "
            "(--axes), as CYX."
        )
    form = "z, y and x" if ask.volume else "y and x"
    raise Unreadable(
        f"{about}; accepted as one {what} are {form}, and one axis of channels. Write one {what} of it into a file, or "
        f"name the axes with axes (--axes) or the channels with {ask.option}."
    )
