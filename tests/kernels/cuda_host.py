"""Run the CUDA text on the CPU under the sanitizers and compare it with ``reference``; prints one JSON object.

``python tests/cuda_host.py FOLDER [MUTANT]``: builds in FOLDER; MUTANT is one of ``MUTANTS``, an error planted in the
operator that the checks have to find. Needs g++, and libasan preloaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from gpulaf.kernels import _cuda, agreement, inner_products
from gpulaf.kernels.stencil import offsets, shifted

SHIM = Path(__file__).with_name("cuda_shim.h")
FLAGS = "-std=c++20 -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover -shared -fPIC -Wno-unknown-pragmas"
STENCILS = ("operator", "adjoint", "similarity", "weight_gradient")
PIXELWISE = ("agreement", "cosine", "moments", "geodesic")
SHAPES = ((1, 1), (1, 11), (11, 1), (2, 2), (4, 8), (7, 13))
VOLUMES = ((1, 1, 1), (1, 3, 7), (5, 1, 4), (3, 5, 1), (3, 4, 9))
#: Images of a batch, and whether they share their weights.
ALONE, BATCHES = ((), False), (((3,), False), ((3,), True))
BATCHED = ((1, 1), (4, 8), (1, 3, 7), (5, 1, 4))
PIXELWISE_SIZES = ((1, 1, 1), (1, 1, 8), (3, 2, 4), (1, 19, 79), (3, 13, 37))
#: dtype, labels, radius, axes, index type; 33 labels, and 3 with radius 3, are a loop at run time.
CONFIGS = (
    ("float32", 2, 1, 2, "long long"),
    ("float32", 8, 1, 2, "int"),
    ("float32", 33, 1, 2, "int"),
    ("float32", 3, 2, 2, "int"),
    ("float64", 8, 1, 2, "int"),
    ("float64", 3, 3, 2, "int"),
    ("float64", 33, 2, 2, "long long"),
    ("float32", 3, 1, 3, "int"),
    ("float64", 6, 1, 3, "long long"),
)
MUTANTS = {
    "border": ("if (p.inside(dz, dy, dx)) visit", "visit"),
    "formula": ("s[j] * (x[j] - dot)", "s[j] * (x[j] + dot)"),
    "stride": ("field + (first + j * width)", "field + (first + j * (height * width))"),
}


def build(folder: Path, texts: dict[str, str], dtype: str, **constants: Any) -> ctypes.CDLL:
    """Compile kernels, given as name of entry: text, into one library."""
    name = "_".join((next(iter(texts)), dtype, *map(str, constants.values()))).replace(" ", "")
    parts = [f'#include "{SHIM}"']
    for entry, text in texts.items():
        parts += [
            f"namespace text_{entry} {{",
            "#undef COMMON_CUH",
            text,
            "}",
            f"using text_{entry}::{entry};",
            f"SHIM_ENTRY({entry})",
        ]
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text("\n".join(parts), encoding="utf-8")
    defines = [option for option in _cuda.options(dtype, **constants) if option.startswith("-D")]
    command = ["g++", *FLAGS.split(), *defines, str(source), "-o", str(library), "-pthread"]
    without_sanitizer = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    subprocess.run(command, check=True, env=without_sanitizer)
    return ctypes.CDLL(str(library))


def stencil_texts(mutant: str | None) -> dict[str, str]:
    """The four stencils, operator and adjoint with and without the replicator."""
    texts = {}
    for name in STENCILS if mutant is None else ("operator",):
        text = _cuda.source(name)
        if mutant is not None:
            before, after = MUTANTS[mutant]
            assert before in text
            text = text.replace(before, after)
        variants = ("0", "1") if name in ("operator", "adjoint") else ("",)
        for variant in variants:
            define = f"#undef REPLICATE\n#define REPLICATE {variant}\n" if variant else ""
            texts[f"{name}_kernel{variant}"] = define + text.replace(f"{name}_kernel(", f"{name}_kernel{variant}(")
    return texts


class Libraries:
    """Takes the place of ``_cuda.launch``: the same arguments, run by the shim."""

    def __init__(self, folder: Path, mutant: str | None = None) -> None:
        self.folder, self.mutant = folder, mutant
        self.stencil = cache(lambda *key: build(folder, stencil_texts(mutant), key[0], **dict(key[1])))
        self.other = cache(self._other)

    def _other(self, name: str, dtype: str, constants: tuple[tuple[str, Any], ...]) -> ctypes.CDLL:
        text = _cuda.source(name)
        entries = [f"{name}_{entry}" for entry in ("kernel", "sum") if f"{name}_{entry}(" in text]
        text += "".join(f"\nSHIM_ENTRY({entry})" for entry in entries[1:])
        return build(self.folder, {entries[0]: text}, dtype, **dict(constants))

    def prepare(self, dtype: str, labels: int, radius: int, axes: int, index: str) -> None:
        """Build the library of one entry of ``CONFIGS``."""
        weights = np.empty((*(1,) * (axes - 1), len(offsets(radius, axes)), 1), dtype)
        constants = _cuda.stencil_constants("operator", weights, labels)
        self.stencil(dtype, tuple({**constants, "INDEX": index}.items()))

    def launch(
        self,
        name: str,
        blocks: int,
        *arguments: Any,
        dtype: Any,
        images: int = 1,
        entry: str = "kernel",
        **constants: Any,
    ) -> None:
        variant = str(constants.pop("REPLICATE", ""))
        key = (np.dtype(dtype).name, tuple(constants.items()))
        library = self.stencil(*key) if name in STENCILS else self.other(name, *key)
        values = [self._value(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        getattr(library, f"launch_{name}_{entry}{variant}")(ctypes.c_uint(blocks), ctypes.c_uint(images), pointers)

    @staticmethod
    def _value(argument: Any) -> np.ndarray:
        """The bytes of one kernel argument: an address or a scalar."""
        if argument is None:
            return np.array([0], np.uintp)
        if isinstance(argument, np.ndarray):
            return np.array([argument.ctypes.data], np.uintp)
        assert isinstance(argument, np.generic), f"{argument!r} has no fixed size"
        return np.array([argument])


def distance(results: Any, expected: Any, dtype: str) -> float:
    """Largest difference in units of the tolerance; infinite where something is not a number."""
    if not isinstance(results, tuple):
        results, expected = (results,), (expected,)
    worst = 0.0
    for x, y in zip(results, expected, strict=True):
        assert x.shape == y.shape
        assert x.dtype == y.dtype
        tolerance = 16 * float(np.finfo(dtype).eps) * max(1.0, float(abs(y).max(initial=0)))
        error = float(abs(x - y).max(initial=0)) / tolerance
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def stencil_cases(
    dtype: str,
    labels: int,
    radius: int,
    shape: tuple[int, ...],
    put: Callable[[Any], Any] = np.asarray,
    batch: tuple[int, ...] = (),
    shared: bool = False,
) -> Any:
    """Yield (kernel, result of gpu, reference) on a batch of images; `put` moves an array to where gpu runs."""
    module = {name: import_module(f"gpulaf.kernels.{name}") for name in STENCILS}
    random = np.random.default_rng(labels * 100 + radius)
    around = offsets(radius, len(shape))
    inside = np.stack([shifted(np.ones(shape, dtype), o, labels=False) for o in around], axis=-2)
    weights = random.uniform(0.1, 1.0, (*(() if shared else batch), *inside.shape)).astype(dtype) * inside
    weights /= weights.sum(axis=-2, keepdims=True)
    unread = put(np.where(inside > 0, weights, np.nan).astype(dtype))  # weights that point outside are never read

    def field(*more: int) -> np.ndarray:
        return random.standard_normal((*more, *batch, *shape[:-1], labels, shape[-1])).astype(dtype)

    S = np.exp(field())
    S /= S.sum(axis=-2, keepdims=True)
    v, source, scale = field(), field(), 0.7
    for name in ("operator", "adjoint"):
        kernel = module[name]
        for s in (S, None):
            y = kernel.reference(weights, s, v)
            there = None if s is None else put(s)
            yield name, kernel.gpu(unread, there, put(v)), y
            moved, out = put(np.asfortranarray(source)), put(np.full_like(v, np.nan))
            result = kernel.gpu(unread, there, put(v), moved, scale, out=out)
            assert result is out
            yield name, result, v.dtype.type(scale) * source + y
    result, bound = module["similarity"].gpu(unread, put(5 * v))
    yield "similarity", (result, bound.max()), module["similarity"].reference(weights, 5 * v)
    for terms in (0, 1, 2):
        operands = (S, v, field(), field(terms), field(terms), field(terms))
        kernel = module["weight_gradient"]
        yield "weight_gradient", kernel.gpu(unread, *map(put, operands)), kernel.reference(weights, *operands)


def vector_cases(dtype: str, sizes: tuple[int, ...], put: Callable[[Any], Any] = np.asarray) -> Any:
    """Yield (kernel, result of gpu, reference)."""
    inner, combination = (import_module(f"gpulaf.kernels.{name}") for name in ("inner_products", "combination"))
    random = np.random.default_rng(7)
    single = dtype == "float32"  # fewer builds in double precision
    for n in sizes:
        for K, P in ((1, 1), (9, 1), (3, 5), (6, 6)) if single else ((6, 6),):
            q, x = (random.standard_normal((m, n)).astype(dtype) for m in (K, P))
            yield "inner_products", inner.gpu(put(q), put(x)), inner.reference(q, x)
        for R, K in ((1, 5), (10, 3)) if single else ((10, 3),):
            c, q, s = (random.standard_normal(size).astype(dtype) for size in ((R, K), (K, n), (R, n)))
            yield "combination", combination.gpu(c.astype(float), put(q)), combination.reference(c, q)
            result = combination.gpu(put(c), put(q), put(s), out=put(np.empty_like(s)))
            yield "combination", result, combination.reference(c, q, s)


def pixelwise_cases(dtype: str, sizes: tuple[tuple[int, int, int], ...], put: Callable[[Any], Any] = np.asarray) -> Any:
    """Yield (kernel, result of gpu, reference) for the kernels of a learning step that look at no neighbor.

    Sizes are those of arrays (B, R, W).
    """
    agreement, cosine, moments, geodesic = (import_module(f"gpulaf.kernels.{name}") for name in PIXELWISE)
    random = np.random.default_rng(11)
    for images, rows, width in sizes:
        n = rows * width
        for labels in (2, 9):
            v = random.standard_normal((images, rows, labels, width)).astype(dtype)
            c, truth = (1 + np.arange(labels) / 4).astype(dtype), random.integers(-1, labels, (images, rows, width))
            truth = truth.astype(np.int32)
            sums = agreement.reference(v, truth, c)
            yield "agreement", agreement.gpu(put(v), put(truth), put(c)) / n, sums / n
            g = cosine.reference(v, truth, c, sums)
            scale = max(abs(g).max(initial=0), np.finfo(dtype).tiny)
            yield "cosine", cosine.gpu(put(v), put(truth), put(c), put(sums)) / scale, g / scale
        p, x, first = (random.uniform(0.1, 1, (images * rows, 9, width)).astype(dtype) for _ in range(3))
        p[:, 3, : width // 2] = 0
        p /= p.sum(axis=1, keepdims=True)
        second, factors = x[:, 4] ** 2, (0.9, 0.99, 3.0)
        result = moments.gpu(put(p), put(x), put(first), put(second), factors)
        yield "moments", result, moments.reference(p, x, first, second, tuple(p.dtype.type(f) for f in factors))
        yield "moments", moments.gpu(put(p), put(x))[1], moments.reference(p, x)[1]
        for s in (None, second):
            there = None if s is None else put(s)
            yield "geodesic", geodesic.gpu(put(p), put(x), -8.0, there), geodesic.reference(p, x, -8.0, s)


def main(folder: str, mutant: str | None = None) -> None:
    """Run all cases and print, for every kernel, how many there were and the largest error in tolerances."""
    _cuda.BLOCK, _cuda.SHARED = (4, 2), 1500  # tiles of several chunks of labels with small arrays
    libraries = Libraries(Path(folder), mutant)
    _cuda.launch = libraries.launch
    inner_products.BLOCKS = agreement.BLOCKS = 3  # so that a block takes several stretches
    worst: dict[str, tuple[int, float]] = {}

    def compare(cases: Any, dtype: str) -> None:
        for name, result, expected in cases:
            count, error = worst.get(name, (0, 0.0))
            worst[name] = (count + 1, max(error, distance(result, expected, dtype)))

    configs = CONFIGS if mutant is None else CONFIGS[1:2]
    jobs = [partial(libraries.prepare, *config) for config in configs]
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(job) for job in jobs]
        if mutant is None:
            for dtype in ("float32", "float64"):
                compare(vector_cases(dtype, (1, 100, 1500)), dtype)
                compare(pixelwise_cases(dtype, PIXELWISE_SIZES), dtype)
        for job in done:
            job.result()
    for dtype, labels, radius, axes, index in configs:
        _cuda.index_type = lambda *arrays, index=index: index
        shapes = SHAPES if axes == 2 else VOLUMES
        for shape, (batch, shared) in ((s, b) for s in shapes for b in (ALONE, *(BATCHES if s in BATCHED else ()))):
            cases = stencil_cases(dtype, labels, radius, shape, batch=batch, shared=shared)
            compare(cases if mutant is None else islice(cases, 1), dtype)
    print(json.dumps(worst))


if __name__ == "__main__":
    main(*sys.argv[1:])
