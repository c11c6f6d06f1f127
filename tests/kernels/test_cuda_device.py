"""Every CUDA kernel on a GPU equals ``reference`` on the CPU and repeats bit for bit.

On the simulated GPU, which is some thousand times slower, on fewer and smaller arrays.
"""

import sys

import numpy as np
import pytest
from cuda_host import ALONE, BATCHES, distance, pixelwise_cases, stencil_cases, vector_cases

from gpulaf.backend.array import gpu_missing, host_array

pytestmark = pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))


def put(x):
    """Copy to the GPU, in the order of the host array."""
    import cupy

    return cupy.asarray(x, order="K")


def host(results):
    return tuple(host_array(x) for x in results) if isinstance(results, tuple) else (host_array(results),)


SIMULATED = "cuda_simulation" in sys.modules
LABELS = [2, 10, 33] if SIMULATED else [2, 3, 8, 10, 33]
SHAPES = [(1, 1), (1, 45), (45, 1), (19, 70) if SIMULATED else (67, 131)]
VOLUMES = [(1, 1, 1), (3, 1, 45), (2, 45, 1), (3, 9, 40) if SIMULATED else (5, 19, 70)]
LENGTHS = (1, 1000, 70_001 if SIMULATED else 3_000_001)
PIXELS = ((1, 1, 1), (3, 40, 70), *([] if SIMULATED else [(1, 1, 100_003), (2, 1501, 999)]))
CASES = [
    *((radius, shape, ALONE) for radius in (1, 2, 3) for shape in SHAPES),
    *((1, shape, ALONE) for shape in VOLUMES),
    *((radius, (19, 70), batch) for radius in (1, 2) for batch in BATCHES),
    *((1, (2, 9, 40), batch) for batch in BATCHES),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(("radius", "shape", "batch"), CASES)
def test_stencils(dtype, labels, radius, shape, batch):
    first, again = (list(stencil_cases(dtype, labels, radius, shape, put, *batch)) for _ in range(2))
    for (name, result, expected), (_, repeated, _) in zip(first, again, strict=True):
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert distance(host(result), expected, dtype) <= 1, name
        assert all(np.array_equal(a, b) for a, b in zip(host(result), host(repeated), strict=True)), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("cases", "sizes"),
    [
        (vector_cases, LENGTHS),
        (pixelwise_cases, PIXELS),
    ],
)
def test_vectors(dtype, cases, sizes):
    first, again = (list(cases(dtype, sizes, put)) for _ in range(2))
    for (name, result, expected), (_, repeated, _) in zip(first, again, strict=True):
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert distance(host(result), expected, dtype) <= 1, name
        assert all(np.array_equal(a, b) for a, b in zip(host(result), host(repeated), strict=True)), name
