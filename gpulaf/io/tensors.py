"""Arrays with JSON metadata in one safetensors file; checkpoints of a fit that resume bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.array import host_array
from .atomic import whole_file

__all__ = ["digest", "qualified_name", "read_tensors", "write_tensors"]

FORMAT = "gpulaf"
VERSION = 1


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
    """
    from safetensors.numpy import save_file

    header = {"format": FORMAT, "kind": kind, "version": str(VERSION), "metadata": json.dumps(metadata)}
    with whole_file(path) as temporary:
        save_file(
            {k: np.require(host_array(v), requirements="C") for k, v in arrays.items()}, temporary, metadata=header
        )


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

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the path.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}). Write it again with gpulaf.") from None
    if header.get("format") != FORMAT or header.get("kind") != kind:
        found = header.get("kind", "something else") if header.get("format") == FORMAT else "not a file of gpulaf"
        raise ValueError(f"{path} holds {found}; accepted are files of {kind}. Check the path.")
    try:
        version, metadata = int(header["version"]), json.loads(header["metadata"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} has a damaged header ({error}). Write it again with gpulaf.") from None
    if version > VERSION:
        raise ValueError(f"{path} has format version {version}; accepted is up to {VERSION}. Update gpulaf.")
    return arrays, metadata


def digest(array: Any) -> str:
    """SHA-256 of the numbers in an array."""
    return hashlib.sha256(np.ascontiguousarray(host_array(array)).tobytes()).hexdigest()


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
