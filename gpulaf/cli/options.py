"""What the commands share: options, notices, files and the checks of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

if TYPE_CHECKING:
    from ..labeling.labeler import Labeler
    from ..labeling.table import LabelTable


def device_option(command: Any) -> Any:
    """Add --device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Where to compute; auto takes a GPU if CuPy finds one.",
    )(command)


output_option = click.option(
    "-o", "--output", type=click.Path(), required=True, callback=lambda context, _, name: _output(context, name),
    help="Label image: .png, .tif or .npy.",
)  # fmt: skip
probabilities_option = click.option(
    "--probabilities", type=click.Path(path_type=Path), help="Also write the probabilities (H, W, J): .tif or .npy."
)
preview_option = click.option(
    "--preview", type=click.Path(), metavar="[KIND=]FILE|KIND",
    help="Also write an image to look at (.png). KIND is mosaic, overlay (over the image) or boundaries (in it), and "
    "alone goes beside the labels as NAME-KIND.png.  [default of KIND: mosaic]",
)  # fmt: skip
axes_option = click.option("--axes", help="A letter for each axis of the file, of t, z, c, y, x, as CYX.")
series_option = click.option("--series", type=click.IntRange(0), help="The image of a file that holds several, from 0.")
nodata_option = click.option(
    "--nodata", type=int,
    help="What stands for pixels without data in the labels. [default: the largest value of the type]",
)  # fmt: skip
#: In place of the file of a preview that goes beside the labels.
BESIDE = Path()
#: Names of files and globs, which a shell completes; whether they are there is said where they are read.
NAMES = click.Path(readable=False)
files_argument = click.argument("images", nargs=-1, required=True, metavar="IMAGES...", type=NAMES)


def _output(context: click.Context, name: str) -> Path:
    """The path of the labels; that it ends as a folder does is kept."""
    context.meta["gpulaf.folder"] = name.endswith(tuple(x for x in (os.sep, os.altsep) if x))
    return Path(name)


def split_preview(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the file of --preview, and ``style``: what it shows."""
    from ..plots.previews import STYLES

    kind, _, name = (options["preview"] or "").partition("=")
    if kind not in STYLES:
        return options | {"style": STYLES[0], "preview": Path(options["preview"]) if options["preview"] else None}
    return options | {"style": kind, "preview": Path(name) if name else BESIDE}


def with_preview(options: dict[str, Any]) -> dict[str, Any]:
    """The options of one image, with a file for a preview that goes beside the labels."""
    if options["preview"] is not BESIDE:
        return options
    output = options["output"]
    base = output.name.removesuffix(output.suffix).removesuffix(".ome")
    return options | {"preview": output.with_name(f"{base}-{options['style']}.png")}


def files_option(name: str, text: str, required: bool = False) -> Any:
    """An option that names files, folders and globs, and may be repeated."""
    return click.option(name, multiple=True, required=required, metavar="FILES", help=text, type=NAMES)


def tell_notes(notes: Iterable[str]) -> None:
    """Say on standard error what a file holds and is not used, or was assumed."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def with_bits(labeler: Labeler, bits: int | None, *, told: bool = True) -> Labeler:
    """The labeler with the range of values that a file says it uses, as 0 to 4095 of 12 bits; that is told.

    A range that is given, and that of labels that were learned, goes first.
    """
    if bits is None or labeler.range is not None or labeler.scaled:
        return labeler
    if told:
        tell_notes([f"the file says that {bits} bits are in use: --range 0,{2**bits - 1}."])
    return replace(labeler, range=(0, 2**bits - 1))


def tell_labels(table: LabelTable) -> None:
    """Print the labels: value, pixels, share and prototype of each."""
    for line in table.lines(swatches=_has_colors()):
        click.echo(line)


def _has_colors() -> bool:
    """Whether standard output is a terminal that shows colors, and they are wanted; see no-color.org."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout is not None and sys.stdout.isatty()


def tell_void(value: int | None) -> None:
    """Say that a value of the truth may stand for no ground truth."""
    if value is not None:
        tell_notes([f"if {value} means no ground truth, pass --unlabeled {value}: it is taken for a label."])


def tell_nodata(output: Path, nodata: int | None, percent: float | None = None) -> None:
    """Say which value stands for pixels without data, and how many there are."""
    share = "" if percent is None else f", {percent:.3g} % of all"
    tell_notes([f"pixels without data{share}, are {nodata} in {output}. Choose another value with --nodata."])


@contextmanager
def compile_notice() -> Iterator[None]:
    """Say on a terminal that kernels are being compiled, where they are."""
    from ..backend.progress import is_terminal
    from ..kernels._numba import compiling

    told = False

    def notice(count: int) -> None:
        nonlocal told
        if is_terminal():
            told = True
            click.echo(f"\rcompiling kernels, once ({count})", nl=False, err=True)

    with compiling(notice):
        yield
    if told:
        click.echo(err=True)


class FileSet(NamedTuple):
    """Images with what belongs to each of them."""

    images: list[Path]
    truths: list[Path]
    probabilities: list[Path] | None

    def all(self) -> list[Path]:
        """Every file."""
        return [*self.images, *self.truths, *(self.probabilities or [])]


def file_set(images: Sequence[str], truths: Sequence[str], probabilities: Sequence[str] = ()) -> FileSet:
    """The files that the names stand for, paired by name."""
    from ..io.pairing import expanded, paired

    files = expanded(images)
    soft = paired(files, expanded(probabilities), "probabilities") if probabilities else None
    return FileSet(files, paired(files, expanded(truths)), soft)


def image_sequence(paths: Sequence[Path], device: str, channel_axis: int | None = None, axes: int = 2) -> Sequence[Any]:
    """Images, or where `axes` is 3 volumes, to be read one at a time, to the device."""
    from ..backend.array import device_array, is_host_array
    from ..prediction.samples import Files

    if is_host_array(device_array(np.zeros(1), device)) and channel_axis is None:
        return paths
    return Files(paths, device, channel_axis, axes)


def check_outputs(options: dict[str, Any], inputs: Sequence[Path]) -> None:
    """Raise ValueError or OSError where --output, --probabilities, --uncertainty or --preview cannot be written."""
    from ..io.images import check_output

    output, preview = options["output"], options["preview"]
    floating = [options["probabilities"], options.get("uncertainty")]
    volume = options["volume"]
    check_output(output, volume=volume)
    for path in floating:
        if path is not None:
            check_output(path, np.float32, volume=volume)
    if preview is not None:
        check_output(preview)
    results = [path for path in (output, *floating, preview) if path is not None]
    check_folders(*results)
    check_files(inputs, results)


def check_files(inputs: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise ValueError for a result that is an input or another result."""
    for path in files:
        if path.exists() and any(path.samefile(other) for other in inputs if other.is_file()):
            raise ValueError(f"{path} is also an input. Choose another name for the result.")
    if len({path.resolve() for path in files}) < len(files):
        raise ValueError(
            f"two results go to the same file, one of {', '.join(map(str, files))}. Choose different names."
        )


def check_folders(*paths: Path | None) -> None:
    """Prove that results can be written where they are to go; raise OSError where they cannot."""
    from ..io.atomic import check_writable

    for path in paths:
        if path is not None:
            check_writable(path)


def result_folder(folder: Path) -> Path:
    """Make a folder of results, and prove that they can be written to it."""
    from ..io.atomic import check_folder

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"folder {folder} cannot be made: {error.strerror or error}. Choose another path.") from error
    check_folder(folder)
    return folder


def check_figure(path: Path | None) -> None:
    """Raise ValueError for a type of file that no figure is written to."""
    if path is not None and path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{path} ends in {path.suffix!r}; accepted for figures are .pdf, .png, .svg.")
