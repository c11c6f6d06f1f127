"""Arrays with JSON metadata in one safetensors file; checkpoints of a fit that resume bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np

from ..backend.array import host_array
from .atomic import as_path, whole_file

__all__ = ["digest", "image_digest", "qualified_name", "read_tensors", "write_tensors"]

FORMAT = "gpulaf"
VERSION = 1

#: What files of each kind are, in messages.
KINDS = {
    "weights": "weights of gpulaf learn",
    "predictor": "a model of gpulaf train",
    "fit": "a checkpoint of gpulaf learn or fit_weights",
    "training": "a checkpoint of gpulaf train or WeightPredictor",
}


def write_tensors(path: str | os.PathLike[str], kind: str, arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Write arrays and metadata to one file, whole or not at all.

    Parameters
    ----------
    path : path
    kind : str
        What the file is, for example ``"weights"``; :func:`read_tensors` asks for it.
    arrays : dict of arrays
        Of any library; they are stored from the host.
    metadata : dict
        Anything that JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    header = {"format": FORMAT, "kind": kind, "version": str(VERSION), "metadata": json.dumps(metadata)}
    own = {k: np.require(host_array(v), requirements="C") for k, v in arrays.items()}
    with whole_file(path) as temporary:
        try:
            save_file(own, temporary, metadata=header)
        except SafetensorError as error:  # what the system said is within
            raise OSError(re.sub(r".*I/O error: |\s*\(os error \d+\)| at path .*", "", str(error))) from error


def read_tensors(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file of :func:`write_tensors`.

    Returns
    -------
    arrays, metadata : two dicts

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, of another kind, or written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = as_path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; accepted are files of {KINDS.get(kind, kind)}. Check the path.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}). Write it again with gpulaf.") from None
    if header.get("format") != FORMAT or header.get("kind") != kind:
        own = header.get("kind", "something else")
        found = f"holds {KINDS.get(own, own)}" if header.get("format") == FORMAT else "is not a file of gpulaf"
        raise ValueError(f"{path} {found}; accepted is {KINDS.get(kind, f'a file of {kind}')}. Check the path.")
    try:
        version, metadata = int(header["version"]), json.loads(header["metadata"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} has a damaged header ({error}). Write it again with gpulaf.") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} has a damaged header: metadata {metadata!r:.40}. Write it again with gpulaf.")
    if version > VERSION:
        raise ValueError(f"{path} has format version {version}; accepted is up to {VERSION}. Update gpulaf.")
    return arrays, metadata


def digest(array: Any) -> str:
    """SHA-256 of an array: shape, dtype and numbers."""
    array = np.ascontiguousarray(host_array(array))
    found = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
    found.update(array.data if array.size else b"")
    return found.hexdigest()


def image_digest(image: Any) -> str:
    """SHA-256 of the values of an image (H, W) or (H, W, C), whatever their dtype, at its valid pixels."""
    valid = None
    if isinstance(image, np.ma.MaskedArray):
        image, valid = image.data, ~np.ma.getmaskarray(image)
    image = host_array(image)
    shape = image.shape if image.ndim > 2 else (*image.shape, 1)
    found = hashlib.sha256(str(shape).encode())
    for k, row in enumerate(image):
        known = row if valid is None else np.where(valid[k], row, 0)
        found.update(np.ascontiguousarray(known, dtype="<f8").data)
    return found.hexdigest()


def qualified_name(function: Callable[..., Any]) -> str:
    """Module and name of a function or of the type of a callable object, with what a partial binds or its fields."""
    if isinstance(function, partial):
        bound = [*map(repr, function.args), *(f"{k}={v!r}" for k, v in function.keywords.items())]
        return f"{qualified_name(function.func)}({', '.join(bound)})"
    if is_dataclass(function) and not isinstance(function, type):
        values = {field.name: getattr(function, field.name) for field in fields(function)}
        bound = [f"{k}={qualified_name(v) if callable(v) else repr(v)}" for k, v in values.items()]
        return f"{qualified_name(type(function))}({', '.join(bound)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
