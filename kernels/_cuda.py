"""CUDA, where CuPy is installed: compile the ``.cu`` file of a kernel and launch it.

Types and constants reach the source as ``-D``; a module is kept per name, dtype and constants, never per image shape.
Nothing is compiled, and CuPy is not imported, before the first launch.
"""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .stencil import axes_of, check_shapes, neighborhood

#: Threads of a block (x, y): one pixel each. A row of a warp is one coalesced line.
BLOCK = (32, 8)

#: Bytes of shared memory that a tile may take: 48 KiB less what the reductions need.
SHARED = 47 * 1024

#: Images of one launch: the limit of the second axis of a grid.
MOST_IMAGES = 65535

#: Planes above and below a pixel of a volume; the 125 weights of two do not fit into registers.
MOST_REACH = 1

_FOLDER = Path(__file__).parent
_INCLUDE = '#include "common.cuh"\n'


def text(file: str) -> str:
    """The text of a file of this folder, with a ``#line`` that makes errors name it."""
    return f'#line 1 "gpulaf/kernels/{file}"\n' + (_FOLDER / file).read_text(encoding="utf-8")


@cache
def source(name: str) -> str:
    """The text of a kernel with ``common.cuh`` put in, as CuPy caches by text: an edited header is compiled again."""
    before, after = text(f"{name}.cu").split(_INCLUDE)
    return f'{before}{text("common.cuh")}#line {before.count(chr(10)) + 1} "gpulaf/kernels/{name}.cu"\n{after}'


def options(dtype: Any, **constants: Any) -> tuple[str, ...]:
    """Compiler options: the types and constants of one instantiation."""
    defines = {
        "REAL": {"float32": "float", "float64": "double"}[np.dtype(dtype).name],
        "INDEX": "int",
        "BLOCK_X": BLOCK[0],
        "BLOCK_Y": BLOCK[1],
        "SHARED": SHARED,
        **constants,
    }
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in defines.items()))


@cache
def load(name: str, dtype: Any, **constants: Any) -> Any:
    """The compiled module of a kernel (``cupy.RawModule``)."""
    import cupy

    return cupy.RawModule(code=source(name), options=options(dtype, **constants), backend="nvrtc")


@cache
def function(name: str, entry: str, dtype: Any, **constants: Any) -> Any:
    """The entry ``<name>_<entry>`` of a module; CuPy keeps it per device."""
    return load(name, dtype, **constants).get_function(f"{name}_{entry}")


def launch(
    name: str, blocks: int, *arguments: Any, dtype: Any, images: int = 1, entry: str = "kernel", **constants: Any
) -> None:
    """Run ``<name>_<entry>`` on the current device and stream, `blocks` to an image; None is a null pointer."""
    if images > MOST_IMAGES:
        raise ValueError(f"a batch of {images} images; accepted on a GPU are up to {MOST_IMAGES}. Pass it in parts.")
    run = function(name, entry, np.dtype(dtype), **constants)
    run((blocks, images), (*BLOCK, 1), tuple(np.uintp(0) if a is None else a for a in arguments))


def most_labels(name: str, count: int, itemsize: int) -> int:
    """Up to this many labels their number is a constant of the kernel for patches of `count`, else a loop at run time.

    Measured with the compiler for sm_80 and sm_90: below it nothing spills, above it more registers than pay.
    """
    if count > 9:
        return 16 // itemsize
    if itemsize > 4:
        return 8
    return 16 if name == "weight_gradient" else 32


def stencil_constants(name: str, weights: Any, labels: int, *arrays: Any) -> dict[str, Any]:
    """The constants of a stencil kernel; LABELS is 0 for a loop at run time."""
    count = weights.shape[-2]
    radius, axes = neighborhood(weights)
    reach = radius if axes > 2 else 0
    if reach > MOST_REACH:
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} reach {reach} planes; accepted on a GPU are up to {MOST_REACH}. "
            "Take smaller patches, or NumPy arrays."
        )
    constant = labels if labels <= most_labels(name, count, weights.dtype.itemsize) else 0
    return {"RADIUS": radius, "REACH": reach, "LABELS": constant, "INDEX": index_type(weights, *arrays)}


def index_type(*arrays: Any) -> str:
    """The integer that addresses every element of the arrays: 64 bits where one has 2 GiB or more."""
    return "int" if all(a is None or a.nbytes < 2**31 for a in arrays) else "long long"


def threads() -> int:
    """Threads of a block."""
    return BLOCK[0] * BLOCK[1]


def tiles(*shape: int) -> int:
    """Blocks that cover pixels (H, W) or (D, H, W), a thread each."""
    return prod(shape[:-2]) * -(-shape[-1] // BLOCK[0]) * -(-shape[-2] // BLOCK[1])


def batch(weights: Any, field: Any) -> tuple[int, ...]:
    """Axes of a field (…, H, J, W), or of the weights, before those that the neighborhood reaches."""
    return tuple(field.shape[: -1 - axes_of(weights)])


def grid(weights: Any, field: Any) -> tuple[np.int32, ...]:
    """Labels, height, width and depth of a field as kernel arguments; an image has one plane.

    Depth, which image kernels do not read, comes last: elsewhere the compiler gave them other registers, and spills.
    """
    *planes, height, labels, width = field.shape[-1 - axes_of(weights) :]
    return sizes(labels, height, width, *(planes or (1,)))


def blocks_of(weights: Any, field: Any) -> int:
    """Blocks that cover one image, or volume, of a field."""
    *rows, _, width = field.shape[-1 - axes_of(weights) :]
    return tiles(*rows, width)


def apart(weights: Any, field: Any, *others: Any) -> np.int32:
    """Rows from the weights of one image to those of the next, as a kernel argument: 0 where all images share them.

    Raises
    ------
    ValueError
        If the arrays do not fit together (:func:`gpulaf.kernels.stencil.check_shapes`).
    """
    own = check_shapes(weights, field, *others)
    return np.int32(0 if own == 1 else prod(weights.shape[-1 - axes_of(weights) : -2]))


def sizes(*numbers: int) -> tuple[np.int32, ...]:
    """Sizes as kernel arguments."""
    return tuple(np.int32(n) for n in numbers)


def contiguous(*arrays: Any) -> tuple[Any, ...]:
    """The arrays with their elements in row-major order, copied only where they are not; None stays None."""
    return tuple(a if a is None else array_namespace(a).ascontiguousarray(a) for a in arrays)


def empty(shape: tuple[int, ...], like: Any, dtype: Any = None) -> Any:
    """A new array in the library and, where none is given, of the dtype of `like`."""
    return array_namespace(like).empty(shape, dtype=dtype or like.dtype)


def like(values: Any, rows: Any) -> Any:
    """The values in the library and of the dtype of `rows`, row-major."""
    return array_namespace(rows).ascontiguousarray(values, dtype=rows.dtype)


def stencil(name: str, weights: Any, field: Any, *arguments: Any, arrays: Any = (), **constants: Any) -> None:
    """Launch a stencil on the batch of a field: its arguments, then the ``grid``; `arrays` are others it addresses."""
    constants |= stencil_constants(name, weights, field.shape[-2], field, *arrays)
    images = prod(batch(weights, field))
    sizes = grid(weights, field)
    launch(name, blocks_of(weights, field), *arguments, *sizes, dtype=field.dtype, images=images, **constants)


def product(name: str, weights: Any, similarity: Any, field: Any, source: Any, scale: float, out: Any) -> Any:
    """Launch ``operator`` or ``adjoint``, which take the same arguments."""
    weights, similarity, field, source = contiguous(weights, similarity, field, source)
    result = empty(field.shape, field) if out is None else out
    rows = apart(weights, field, similarity, source, result)
    arguments = (weights, similarity, field, source, field.dtype.type(scale), result, rows)
    stencil(name, weights, field, *arguments, REPLICATE=int(similarity is not None))
    return result
