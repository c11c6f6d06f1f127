"""As much of CuPy as gpulaf and the array API ask for, on a simulated GPU. Only the tests import it.

Names, parameters and errors are CuPy's (``test_surface.py`` compares them); ``cuda_simulation`` is what it runs on.
"""

import numpy as _np
from numpy import (
    bool_,
    complex64,
    complex128,
    dtype,
    e,
    finfo,
    float16,
    float32,
    float64,
    floating,
    iinfo,
    inexact,
    inf,
    int8,
    int16,
    int32,
    int64,
    int_,
    integer,
    intp,
    nan,
    newaxis,
    number,
    pi,
    promote_types,
    signedinteger,
    uint8,
    uint16,
    uint32,
    uint64,
    uintp,
    unsignedinteger,
)

from . import cuda, exceptions, fft, linalg
from ._array import ndarray
from ._functions import *  # noqa: F403
from ._functions import abs, all, any, max, min, pow, round, sum, ufunc
from ._memory import get_default_memory_pool
from ._raw import RawKernel, RawModule

__version__ = "14.0.1"
bool = bool_


def is_available():
    return True


