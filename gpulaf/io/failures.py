"""What is said where a file cannot be read: another type, a missing codec, a limit of a library, or damage."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

__all__ = ["Unclear", "Unreadable", "existing", "first_line", "need", "quiet", "reading", "unsupported"]

CONVERT = "Open it in Fiji (Bio-Formats) and save it as OME-TIFF, or convert it by bioformats2raw to OME-Zarr."
TRANSLATE = "Convert it: gdal_translate -of GTiff IN OUT.tif."
UNPACK = "Unpack it first, and name the folder or file inside."
#: The way out for types that are not read.
WAYS = {
    **dict.fromkeys((".czi", ".lif", ".nd2", ".oib", ".oif", ".vsi", ".lsm", ".ims", ".mrxs", ".scn"), CONVERT),
    **dict.fromkeys((".img", ".vrt", ".nc", ".hdf", ".ecw", ".sid", ".asc", ".grd"), TRANSLATE),
    **dict.fromkeys((".zip", ".gz", ".bz2", ".xz", ".tar", ".tgz", ".7z"), UNPACK),
    **dict.fromkeys((".dcm", ".ima"), "Save its pixels: numpy.save('x.npy', pydicom.dcmread(IN).pixel_array)."),
    **dict.fromkeys((".mha", ".mhd", ".nrrd"), "Save its voxels: numpy.save('x.npy', SimpleITK.GetArrayFromImage(…))."),
    **dict.fromkeys((".mat",), "Save the array in it: numpy.save('x.npy', scipy.io.loadmat(IN)['NAME'])."),
    **dict.fromkeys((".pt", ".pth"), "Save the tensor in it: numpy.save('x.npy', torch.load(IN).numpy())."),
    **dict.fromkeys((".heic", ".heif", ".avif", ".cr2", ".nef", ".dng", ".svg", ".pdf"), "Export it as PNG or TIFF."),
}
#: Loggers of libraries that read files.
LOGS = ("tifffile", "nibabel.global", "PIL", "zarr", "fsspec", "h5py")
CODEC = re.compile(r"requires the '(\w+)' package|codec not available: '?([\w.]+)|unknown codec:? '?([\w.]+)", re.I)
LIMIT = re.compile(
    r"not supported|unsupported|not implemented|cannot handle|decompression bomb|too large|MAX_TEXT|exceeds limit", re.I
)


class Unreadable(ValueError):
    """A file that cannot be read, with the reason and the next step."""


class Unclear(Unreadable):
    """A file that does not say which axis is which."""


def unsupported(path: Path, accepted: str) -> Unreadable:
    """A type of file that is not read."""
    kind = path.suffix.lower()
    way = WAYS.get(kind, "Convert it to one of them.")
    return Unreadable(f"{path} is not read: its type {kind!r} is none of those that are, {accepted}. {way}")


def need(path: Path, library: str, otherwise: str) -> None:
    """Raise ModuleNotFoundError where a library is missing that a type of file needs; say what else would do."""
    if find_spec(library) is None:
        raise ModuleNotFoundError(
            f"{path} is not read without {library}. Install it: python -m pip install {library}; or {otherwise}."
        )


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, of a file that is there."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    return path


class _Silence:
    """Libraries keep quiet while any thread reads."""

    def __init__(self) -> None:
        self.lock, self.readers, self.stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.readers += 1
            if self.readers == 1:
                self.stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for name in LOGS:
                    log = logging.getLogger(name)
                    self.stack.callback(log.setLevel, log.level)
                    log.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.readers -= 1
            if not self.readers:
                self.stack.close()


#: Keeps the libraries that read files from warning and logging: what matters is said here, once.
quiet = _Silence()


@contextmanager
def reading(path: Path, where: str = "") -> Iterator[None]:
    """Turn what goes wrong while a file is read into one sentence and the next step.

    Parameters
    ----------
    path : Path
    where : str
        The part of the file, as " at rows 0:64".
    """
    try:
        with quiet:
            yield
    except (Unreadable, ModuleNotFoundError):
        raise
    except MemoryError as error:
        raise MemoryError(
            f"{path} does not fit into memory{where} ({first_line(error)}). Check that the file is "
            "whole; a large image is labeled in tiles, by --tile 1024."
        ) from error
    except Exception as error:  # damaged files surface in every type: zlib.error, struct.error, RuntimeError, …
        raise _said(path, where, error) from error


def first_line(error: BaseException) -> str:
    """The first line of a message, or the type of the error where it has none."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _said(path: Path, where: str, error: Exception) -> Exception:
    reason, kinds = first_line(error), {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, PermissionError):
        return PermissionError(f"{path} cannot be read{where}: permission denied. Have it opened for you.")
    codec = CODEC.search(reason)
    if codec or "DelayedImportError" in kinds or "UnknownCodecError" in kinds:
        name = next((group for group in codec.groups() if group), "") if codec else ""
        library = name if name in ("imagecodecs", "numcodecs") else "imagecodecs"
        return Unreadable(
            f"{path} cannot be read{where}: it is packed by a codec that is not installed ({reason}). Install it: "
            f"python -m pip install {library}; or save the file with another compression, as deflate."
        )
    if isinstance(error, NotImplementedError) or "DecompressionBombError" in kinds or LIMIT.search(reason):
        return Unreadable(
            f"{path} cannot be read{where}: the library that reads this type cannot do it ({reason}). Save it as a "
            "TIFF with deflate compression and 8, 16 or 32 bits, large images in tiles; or as .npy."
        )
    if where:
        return Unreadable(f"{path} cannot be read{where}: {reason}. Restore that part of the file.")
    return Unreadable(
        f"{path} cannot be read: {reason}. Check that the file is whole and of the type that its name says."
    )
