"""The functions of ``cupy``, with the parameters that CuPy gives them; NumPy computes."""

from __future__ import annotations

import builtins
import inspect
from typing import Any

import numpy as np

from ._array import (
    _SCALARS,
    _from_host,
    _strides,
    compute,
    eager,
    enqueue,
    ndarray,
    unsupported,
    upload,
    view_or_compute,
)

#: Results whose shape is known without the numbers.
_COMPUTED = """
all(a, axis=None, out=None, keepdims=False)
allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False)
amax(a, axis=None, out=None, keepdims=False)
amin(a, axis=None, out=None, keepdims=False)
any(a, axis=None, out=None, keepdims=False)
argsort(a, axis=-1, kind=None)
around(a, decimals=0, out=None)
count_nonzero(a, axis=None)
cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None)
cumprod(a, axis=None, dtype=None, out=None)
cumsum(a, axis=None, dtype=None, out=None)
digitize(x, bins, right=False)
dot(a, b, out=None)
inner(a, b)
isclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False)
isin(element, test_elements, assume_unique=False, invert=False)
kron(a, b)
max(a, axis=None, out=None, keepdims=False)
mean(a, axis=None, dtype=None, out=None, keepdims=False)
min(a, axis=None, out=None, keepdims=False)
nanmax(a, axis=None, out=None, keepdims=False)
nanmean(a, axis=None, dtype=None, out=None, keepdims=False)
nanmin(a, axis=None, out=None, keepdims=False)
nansum(a, axis=None, dtype=None, out=None, keepdims=False)
outer(a, b, out=None)
prod(a, axis=None, dtype=None, out=None, keepdims=False)
repeat(a, repeats, axis=None)
roll(a, shift, axis=None)
round(a, decimals=0, out=None)
searchsorted(a, v, side='left', sorter=None)
std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
sum(a, axis=None, dtype=None, out=None, keepdims=False)
take(a, indices, axis=None, out=None)
take_along_axis(a, indices, axis)
tensordot(a, b, axes=2)
tile(A, reps)
trace(a, offset=0, axis1=0, axis2=1, dtype=None, out=None)
tril(m, k=0)
triu(m, k=0)
var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
vdot(a, b)
"""
#: Views of the same memory where there are any.
_VIEWS = """
broadcast_to(array, shape)
diagonal(a, offset=0, axis1=0, axis2=1)
expand_dims(a, axis)
flip(a, axis=None)
matrix_transpose(x, /)
moveaxis(a, source, destination)
ravel(a, order='C')
rollaxis(a, axis, start=0)
squeeze(a, axis=None)
swapaxes(a, axis1, axis2)
transpose(a, axes=None)
"""
#: Sizes of results depend on the numbers: CuPy waits for them.
_EAGER = """
argwhere(a)
flatnonzero(a)
nonzero(a)
unique_all(x)
unique_counts(x)
unique_inverse(x)
unique_values(x)
"""
#: Of both libraries, for shapes and dtypes.
_SAME = ("broadcast_shapes", "can_cast", "iscomplexobj", "isdtype", "isrealobj", "isscalar", "issubdtype")

_ELEMENTS = """
abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh bitwise_and
bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor cbrt ceil conj
conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1 fabs float_power floor floor_divide fmax
fmin fmod frexp gcd greater greater_equal heaviside hypot invert isfinite isinf isnan lcm ldexp left_shift less
less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod
modf multiply negative nextafter not_equal positive pow power rad2deg radians reciprocal remainder right_shift rint sign
signbit sin sinh sqrt square subtract tan tanh true_divide trunc
"""
_UFUNCS = _ELEMENTS.split()


class ufunc:
    """A function of elements."""

    def __init__(self, function):
        self._function = function
        self.name, self.nin, self.nout = f"cupy_{function.__name__}", function.nin, function.nout
        self.nargs, self.__name__ = function.nargs, function.__name__

    def __call__(self, *args, **kwargs):
        own, out = args[: self.nin], kwargs.pop("out", None)
        if len(args) > self.nin:
            out = args[self.nin :] if self.nout > 1 else args[self.nin]
        if kwargs.keys() - {"dtype", "casting"}:
            raise TypeError(f"Wrong arguments {kwargs}")
        if isinstance(out, tuple) and self.nout == 1:
            (out,) = out
        for x in own:
            if not isinstance(x, (*_SCALARS, ndarray)):
                raise unsupported(x)
        return compute(self._function, *own, out=out, **kwargs)

    def __repr__(self):
        return f"<ufunc '{self.name}'>"


def _function(line: str, how: Any) -> Any:
    name = line.split("(")[0]
    parameters = line[len(name) + 1 : -1]
    signature, function = inspect.signature(eval(f"lambda {parameters}: None")), getattr(np, name)
    required = [n for n, p in signature.parameters.items() if p.default is p.empty]

    def call(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        own = [given.pop(n) for n in required]
        if not isinstance(own[0], (*_SCALARS, ndarray)):
            raise unsupported(own[0])
        return how(function, *own, **given)

    call.__name__ = call.__qualname__ = name
    call.__module__ = "cupy"
    call.__signature__ = signature
    return call


for _text, _how in ((_COMPUTED, compute), (_VIEWS, view_or_compute), (_EAGER, eager)):
    globals().update({line.split("(")[0]: _function(line, _how) for line in _text.split("\n") if line})
globals().update({name: getattr(np, name) for name in _SAME})
globals().update({name: ufunc(getattr(np, name)) for name in _UFUNCS})


# creation


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        wanted = obj.dtype if dtype is None else np.dtype(dtype)
        if copy or obj.dtype != wanted:
            obj = obj.astype(wanted, order=order)
        elif order == "C" and not obj.flags.c_contiguous:
            obj = obj.copy(order)
    elif isinstance(obj, (list, tuple)) and _has_arrays(obj):
        obj = stack([array(x, dtype) for x in obj])
    else:
        host = np.asarray(obj, dtype)
        obj = _from_host(host, "C" if order == "C" else "F" if order == "F" or host.flags.fnc else "C")
    return obj.reshape((1,) * (ndmin - obj.ndim) + obj.shape) if obj.ndim < ndmin else obj


def _has_arrays(x):
    return isinstance(x, ndarray) or (isinstance(x, (list, tuple)) and builtins.any(map(_has_arrays, x)))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, builtins.bool(copy), order or "K")


def asanyarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, builtins.bool(copy), order or "K")


def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    a = a if a.flags.c_contiguous else a.copy("C")
    return a if a.ndim else a.reshape(1)


def asfortranarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.f_contiguous else a.copy("F")


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def _filled(result, value):
    result.fill(value)
    return result


def zeros(shape, dtype=float, order="C"):
    return _filled(ndarray(shape, dtype, order=order), 0)


def ones(shape, dtype=float, order="C"):
    return _filled(ndarray(shape, dtype, order=order), 1)


def full(shape, fill_value, dtype=None, order="C"):
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray) else np.array(fill_value).dtype
    return _filled(ndarray(shape, dtype, order=order), fill_value)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    if not isinstance(prototype, ndarray):
        raise unsupported(prototype)
    dtype = prototype.dtype if dtype is None else dtype
    if shape is not None:
        return ndarray(shape, dtype)
    return ndarray(prototype.shape, dtype, strides=_strides(prototype._view, order, dtype))


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return _filled(empty_like(a, dtype, order, subok, shape), 0)


def ones_like(a, dtype=None, order="K", subok=None, shape=None):
    return _filled(empty_like(a, dtype, order, subok, shape), 1)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    return _filled(empty_like(a, dtype, order, subok, shape), fill_value)


def _made(host):
    """Numbers that a kernel makes."""
    result = ndarray(host.shape, host.dtype)
    enqueue("fill", lambda view: np.copyto(view, host), [result])
    return result


def arange(start, stop=None, step=1, dtype=None):
    return _made(np.arange(0, start, step, dtype) if stop is None else np.arange(start, stop, step, dtype))


def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    return _made(np.linspace(start, stop, num, endpoint, False, dtype, axis))


def eye(N, M=None, k=0, dtype=float, order="C"):
    return _made(np.eye(N, M, k, dtype))


def identity(n, dtype=float):
    return _made(np.identity(n, dtype))


def tri(N, M=None, k=0, dtype=float):
    return _made(np.tri(N, M, k, dtype))


def indices(dimensions, dtype=int):
    return _made(np.indices(dimensions, dtype))


def meshgrid(*xi, **kwargs):
    return list(compute(np.meshgrid, *xi, **kwargs))


def diag(v, k=0):
    return v.diagonal(k) if v.ndim == 2 else compute(np.diag, v, k)


# between host and device


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    if out is not None:
        np.copyto(out, a)
        return out
    return np.asarray(a, order=order)


def copyto(dst, src, casting="same_kind", where=None):
    if isinstance(src, np.ndarray) and src.ndim and where is None and isinstance(dst, ndarray):
        if src.shape != dst.shape or src.dtype != dst.dtype:
            raise unsupported(src)
        upload(src, dst._view)
        return
    if not isinstance(src, (*_SCALARS, ndarray)):
        raise unsupported(src)
    if isinstance(src, ndarray) and not np.can_cast(src.dtype, dst.dtype, casting):
        raise TypeError(f"Cannot cast {src.dtype!r} to {dst.dtype!r} in {casting} casting mode")

    def run(target, source, mask):
        np.copyto(target, source, "unsafe", True if mask is None else mask)

    enqueue("copy", run, [dst, src, where])


def get_array_module(*args):
    import cupy

    return cupy if builtins.any(isinstance(x, ndarray) for x in args) else np


# the rest


def astype(x, dtype, /, *, copy=True):
    return x.astype(dtype, copy=copy)


def copy(a, order="K"):
    return array(a, order=order)


def reshape(a, newshape, order="C", *, copy=None):
    return view_or_compute(np.reshape, a, newshape, order=order)


def permute_dims(a, axes=None):
    return view_or_compute(np.transpose, a, axes=axes)


def broadcast_arrays(*args):
    shape = np.broadcast_shapes(*(x.shape for x in args))
    return [view_or_compute(np.broadcast_to, x, shape) for x in args]


def atleast_1d(*arys):
    found = [x if x.ndim else x.reshape(1) for x in map(asarray, arys)]
    return found if len(found) > 1 else found[0]


def atleast_2d(*arys):
    found = [x if x.ndim > 1 else x.reshape(1, -1) for x in map(asarray, arys)]
    return found if len(found) > 1 else found[0]


def _together(function, parts, axis, out, dtype, casting):
    parts = list(parts)
    for x in parts:
        if not isinstance(x, ndarray):
            raise TypeError(f"Only cupy arrays can be concatenated, got {type(x)}")
    return compute(function, parts, axis=axis, out=out, **({} if dtype is None else {"dtype": dtype}))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return _together(np.concatenate, tup, axis, out, dtype, casting)


def concat(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return _together(np.concatenate, tup, axis, out, dtype, casting)


def stack(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return _together(np.stack, tup, axis, out, dtype, casting)


def hstack(tup, *, dtype=None, casting="same_kind"):
    tup = [atleast_1d(x) for x in tup]
    return _together(np.concatenate, tup, 0 if tup[0].ndim == 1 else 1, None, dtype, casting)


def vstack(tup, *, dtype=None, casting="same_kind"):
    return _together(np.concatenate, [atleast_2d(x) for x in tup], 0, None, dtype, casting)


def split(ary, indices_or_sections, axis=0):
    ends = [0, *indices_or_sections] if not isinstance(indices_or_sections, int) else None
    size = ary.shape[axis]
    if ends is None:
        if size % indices_or_sections:
            raise ValueError("indices_or_sections must divide the size along the axes.")
        ends = list(range(0, size, size // indices_or_sections))
    before = (slice(None),) * (axis % ary.ndim)
    return [ary[(*before, slice(a, b))] for a, b in zip(ends, [*ends[1:], size], strict=True)]


def argmax(a, axis=None, dtype=None, out=None, keepdims=False):
    return compute(np.argmax, a, axis=axis, out=out, keepdims=keepdims)


def argmin(a, axis=None, dtype=None, out=None, keepdims=False):
    return compute(np.argmin, a, axis=axis, out=out, keepdims=keepdims)


def array_equal(a1, a2, equal_nan=False):
    return compute(np.array_equal, a1, a2, equal_nan=equal_nan)


def bincount(x, weights=None, minlength=None):
    return eager(np.bincount, x, weights, minlength or 0)


def clip(a, a_min, a_max, out=None):
    return compute(np.clip, a, a_min, a_max, out=out)


def cumulative_prod(x, /, *, axis=None, dtype=None, out=None, include_initial=False):
    return compute(np.cumulative_prod, x, axis=axis, dtype=dtype, out=out, include_initial=include_initial)


def cumulative_sum(x, /, *, axis=None, dtype=None, out=None, include_initial=False):
    return compute(np.cumulative_sum, x, axis=axis, dtype=dtype, out=out, include_initial=include_initial)


def diff(a, n=1, axis=-1, prepend=None, append=None):
    more = {name: x for name, x in (("prepend", prepend), ("append", append)) if x is not None}
    return compute(np.diff, a, n=n, axis=axis, **more)


def einsum(*operands, **kwargs):
    return compute(np.einsum, *operands, **kwargs)


def imag(val):
    return val.imag


def matmul(
    *args, axes=None, axis=None, keepdims=False, casting="same_kind", dtype=None, signature=None, order="K", out=None
):
    return compute(np.matmul, *args, out=out, **({} if dtype is None else {"dtype": dtype}))


def may_share_memory(a, b, max_work=None):
    return np.may_share_memory(a._view, b._view)


def median(a, axis=None, out=None, overwrite_input=False, keepdims=False):
    return compute(np.median, a, axis=axis, out=out, keepdims=keepdims)


def nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    return compute(np.nan_to_num, x, nan=nan, posinf=posinf, neginf=neginf)


def ndim(a):
    return a.ndim if isinstance(a, ndarray) else np.ndim(a)


def pad(array, pad_width, mode="constant", **kwargs):
    return compute(np.pad, array, pad_width, mode, **kwargs)


def percentile(
    a, q, axis=None, out=None, overwrite_input=False, method="linear", keepdims=False, *, interpolation=None
):
    return compute(np.percentile, a, q, axis=axis, out=out, method=method, keepdims=keepdims)


def quantile(a, q, axis=None, out=None, overwrite_input=False, method="linear", keepdims=False, *, interpolation=None):
    return compute(np.quantile, a, q, axis=axis, out=out, method=method, keepdims=keepdims)


def real(val):
    return val.real


def result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))


def shape(a):
    return a.shape if isinstance(a, ndarray) else np.shape(a)


def shares_memory(a, b, max_work=None):
    return np.shares_memory(a._view, b._view)


def size(a, axis=None):
    return a.size if axis is None else a.shape[axis]


def sort(a, axis=-1, kind=None):
    return compute(np.sort, a, axis=axis, kind=kind)


def unique(ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True):
    return eager(
        np.unique, ar, return_index, return_inverse, return_counts, axis=axis, equal_nan=equal_nan
    )  # fmt: skip


def where(condition, x=None, y=None):
    return nonzero(condition) if x is None and y is None else compute(np.where, condition, x, y)  # noqa: F821


def from_dlpack(array, *, device=None, copy=None):
    if not isinstance(array, ndarray):
        raise RuntimeError("the simulated device takes no memory of another library")
    return array


__all__ = [
    name for name, x in globals().items()
    if not name.startswith("_") and (getattr(x, "__module__", None) in ("cupy", __name__) or name in (*_SAME, *_UFUNCS))
]  # fmt: skip
