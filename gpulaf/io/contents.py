"""From file to contents, for every type of file: the one function of the reader in memory and of that in tiles."""

from __future__ import annotations

import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .axes import Ask, check_only, layout_of
from .failures import Unreadable, existing, need, reading, unsupported
from .pictures import PICTURES, picture
from .place import Place
from .stored import Contents, Stored, stamp
from .tiff import TIFF_READ, tiff_contents, tiff_stored
from .zarrs import is_zarr, zarr_contents

__all__ = ["READABLE", "file_contents", "is_readable", "stem", "stored_array"]

NIFTI = (".nii", ".nii.gz")
HDF5 = {".h5", ".hdf5", ".ilp"}
#: The types of files that are read.
READABLE = {".npy", ".npz", ".nii", ".h5", ".hdf5"} | TIFF_READ | PICTURES
#: Pixels on a side, of an axis of any name.
LONGEST = 2**31
ACCEPTED = (
    ".png, .jpg, .bmp, .gif, .webp, .jp2, .tif, .npy, .npz, .zarr, and .nii, .nii.gz and .h5 with their libraries"
)


def is_readable(path: Path) -> bool:
    """Whether a file is of a type that is read, by its name."""
    return path.suffix.lower() in READABLE or path.name.lower().endswith(NIFTI)


def stem(path: Path) -> str:
    """The name of a file without its ending; that of a NIfTI may be .nii.gz."""
    name = path.name
    return name[: -len(NIFTI[1])] if name.lower().endswith(NIFTI[1]) else path.stem


def file_contents(path: Path, ask: Ask) -> Contents:
    """What is in an image file: its array, axes and place; the pixels of large ones are not read yet.

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError, Unreadable, ValueError, TypeError
        If the file is missing, of another type, packed by a missing codec, beyond a library, damaged, empty, or not
        what is asked for; with the next step.
    """
    path = existing(path)
    if is_zarr(path):
        found = zarr_contents(path, ask)
    elif path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; an image file of that name does not exist. Check the path.")
    else:
        found = _of_file(path, ask)
    if found.dtype.kind not in "buif":
        raise TypeError(f"{path} holds {found.dtype} values; accepted are real numbers. Convert it first.")
    if 0 in found.shape:
        sizes = tuple(found.side(axis) for axis in found.space)
        raise Unreadable(f"{path} is empty: it has {sizes} pixels. Check how it was written.")
    if max(found.shape) >= LONGEST:
        raise Unreadable(
            f"{path} cannot be read: it has {max(found.shape)} pixels on a side; accepted are fewer than {LONGEST}. "
            "Check that the file is whole."
        )
    return found


def stored_array(path: Path, ask: Ask, contents: Contents | None = None, *, lazy: bool = False) -> Stored:
    """The array in a file; where `lazy`, its parts are read when they are needed."""
    contents = contents or file_contents(path, ask)
    return contents.stored or tiff_stored(path, ask, contents, lazy=lazy)


def _of_file(path: Path, ask: Ask) -> Contents:
    suffix = path.suffix.lower()
    if path.name.lower().endswith(NIFTI):
        return _nifti(path, ask)
    if suffix in TIFF_READ:
        return tiff_contents(path, ask)
    if suffix in PICTURES:
        return picture(path, ask)
    if suffix == ".npy":
        with reading(path):
            return _of_array(path, _npy(path), None, ask)
    if suffix == ".npz":
        with reading(path):
            return _of_array(path, _npz(path), None, ask)
    if suffix in HDF5:
        return _hdf5(path, ask)
    raise unsupported(path, ACCEPTED)


def _of_array(path: Path, array: Any, axes: str | None, ask: Ask, place: Place | None = None) -> Contents:
    check_only(path, ask)
    layout, notes = layout_of(axes, array.shape, path, ask)
    chunks = tuple(1 if axis == "y" else side for axis, side in zip(layout.axes, array.shape, strict=True))
    dtype = array.dtype.newbyteorder("=")
    return Contents(
        path, stamp(path), array.shape, chunks, dtype, layout, place or Place(), notes, stored=Stored(array)
    )


def _npy(path: Path) -> np.ndarray:
    if not path.stat().st_size:
        raise Unreadable(
            f"{path} cannot be read: it is empty. Check that the file is whole and of the type that its name says."
        )
    with open(path, "rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise ValueError("it holds several arrays, as .npz files do")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.names or array.dtype.kind == "O":
        raise ValueError(f"it holds records or objects, {array.dtype}")
    return array


def _npz(path: Path) -> np.ndarray:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz file")
    with np.load(path, allow_pickle=False) as file:
        if len(file.files) != 1:
            raise Unreadable(
                f"{path} holds {len(file.files)} arrays: {', '.join(file.files) or 'none'}. Save the right one alone: "
                "numpy.save('x.npy', numpy.load(IN)['NAME'])."
            )
        return file[file.files[0]]


class Deferred:
    """The voxels of a NIfTI file, z first, which are read and unpacked as a whole when the first of them is needed."""

    def __init__(self, voxels: Any) -> None:
        self._voxels = voxels
        self.shape = tuple(map(int, voxels.shape[::-1]))  # NIfTI counts x first
        self.ndim = len(self.shape)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """That of the file, or of its values times a slope."""
        plain = (self._voxels.slope, self._voxels.inter) == (1, 0)
        return np.dtype(self._voxels.dtype if plain else self.array.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[index]

    @cached_property
    def array(self) -> np.ndarray:
        """All of them."""
        return np.asanyarray(self._voxels).T


def _nifti(path: Path, ask: Ask) -> Contents:
    need(
        path, "nibabel", "save its voxels: numpy.save('x.npy', nibabel.load(IN).get_fdata().T), "
        "and give the distances of its header to --spacing SZ,SY,SX",
    )  # fmt: skip
    import nibabel

    with reading(path):
        image: Any = nibabel.load(path)
        data = Deferred(image.dataobj)
        sizes = tuple(float(size) for size in image.header.get_zooms()[:3][::-1])
        unit = {"mm": "millimeter", "micron": "micrometer", "meter": "meter"}.get(image.header.get_xyzt_units()[0])
        at = tuple(float(value) for value in image.affine[:3, 3][::-1])
    axes = "ctzyx"[-data.ndim :] if data.ndim != 4 else "czyx" if ask.soft else "tzyx"
    return _of_array(path, data, axes, ask, Place(scale=sizes, unit=unit, translation=at[-len(sizes) :]))


def _hdf5(path: Path, ask: Ask) -> Contents:
    need(path, "h5py", "let ilastik export .npy or .tif")
    import h5py

    with reading(path), h5py.File(path, "r") as file:
        arrays: dict[str, Any] = {}
        file.visititems(lambda name, node: arrays.update({name: node}) if hasattr(node, "shape") else None)
        names = [name for name, node in arrays.items() if len(node.shape) > 1]
        if len(names) != 1:
            raise Unreadable(
                f"{path} holds {len(names)} arrays: {', '.join(names) or 'none'}. Save the one that is meant: "
                "numpy.save('x.npy', h5py.File(IN)['NAME'][:])."
            )
        data, axes = arrays[names[0]][()], _axistags(arrays[names[0]].attrs.get("axistags"))
    return _of_array(path, data, axes if axes and len(axes) == data.ndim else None, ask)


def _axistags(text: Any) -> str | None:
    """The letters of the axes as ilastik (vigra) writes them."""
    try:
        return "".join(axis["key"] for axis in json.loads(text)["axes"])
    except (TypeError, KeyError, ValueError):
        return None
