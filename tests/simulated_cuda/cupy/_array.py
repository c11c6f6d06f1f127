"""``cupy.ndarray``: an array on the memory of the device, whose work NumPy does when a queue comes to it.

A view of NumPy on the memory of the device (``_view``) holds address, shape and strides; nothing reads it before the
work that was queued. Shapes and dtypes of results come from NumPy on small arrays of zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda_simulation import counts, work
from cuda_simulation.memory import IllegalAddress, fill_poison, memory

from ._memory import MemoryPointer, alloc
from ._runtime import refusals

_SCALARS = (bool, int, float, complex, np.generic)
_CAPTURING = "the current stream is capturing, so synchronous API calls are disallowed"
_IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)


def _address(view):
    return view.__array_interface__["data"][0]


def unsupported(x):
    return TypeError(f"Unsupported type {type(x)}")


class ndarray:
    __slots__ = ("__weakref__", "_view", "base", "data")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))
        if any(n < 0 for n in shape):
            raise ValueError("Negative dimensions are not allowed")
        dtype = np.dtype(dtype)
        if dtype.kind not in "biufc" or dtype.itemsize > 16:
            raise ValueError(f"Unsupported dtype {dtype}")
        size = dtype.itemsize
        for n in shape:
            size *= n
        if strides is None and order in ("F", "f"):
            strides, step = [], dtype.itemsize
            for n in shape:
                strides.append(step)
                step *= n
        self.data = alloc(size) if memptr is None else memptr
        self.base = None
        self._view = memory.view(self.data.ptr, shape, dtype, strides)

    # what is known without reading

    @property
    def shape(self):
        return self._view.shape

    @property
    def strides(self):
        return self._view.strides

    @property
    def dtype(self):
        return self._view.dtype

    @property
    def ndim(self):
        return self._view.ndim

    @property
    def size(self):
        return self._view.size

    @property
    def itemsize(self):
        return self._view.itemsize

    @property
    def nbytes(self):
        return self._view.nbytes

    @property
    def flags(self):
        return _Flags(self._view.flags, self.base is None)

    @property
    def device(self):
        from .cuda import Device

        return Device(0)

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape, "typestr": self.dtype.str, "descr": self.dtype.descr, "version": 3, "stream": 1,
            "strides": None if self.flags.c_contiguous else self.strides, "data": (self.data.ptr, False),
        }  # fmt: skip

    def __dlpack_device__(self):
        return 2, 0

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # to the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        queue = work.current() if stream is None else stream._queue
        if queue.recorded is not None:
            raise RuntimeError(_CAPTURING)
        if out is None:
            out = np.empty(self.shape, self.dtype, order if order in ("C", "F") else "C")
        elif out.shape != self.shape or out.dtype != self.dtype:
            raise ValueError(f"Shape or dtype mismatch. Expected: {self.shape}, actual: {out.shape}")
        counts.reads += 1
        counts.read_bytes += self.nbytes
        if out.flags.forc:
            fill_poison(out.ravel("K"))
        queue.add("copy to the host", _guarded("get", lambda: np.copyto(out, self._view), [self._view]))
        if blocking:
            with refusals:
                queue.wait()
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype.name} array cannot be set to {self.dtype.name} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        upload(arr, self._view, work.current() if stream is None else stream._queue)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def tobytes(self, order="C"):
        return self.get().tobytes(order)

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __reduce__(self):
        return _from_host, (self.get(),)

    def __array__(self, dtype=None):
        raise TypeError(_IMPLICIT)

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        import cupy

        own = getattr(cupy, function.__name__, None)
        if method != "__call__" or not isinstance(own, cupy.ufunc):
            return NotImplemented
        return own(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        import cupy

        place = cupy
        for name in function.__module__.split(".")[1:]:
            place = getattr(place, name, None)
        own = getattr(place, function.__name__, None)
        if own is None or own is function:
            return NotImplemented
        return own(*args, **kwargs)

    # views

    @property
    def T(self):
        return as_view(self, self._view.T)

    @property
    def mT(self):
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return as_view(self, self._view.swapaxes(-1, -2))

    @property
    def real(self):
        return as_view(self, self._view.real)

    @property
    def imag(self):
        return as_view(self, self._view.imag) if self.dtype.kind == "c" else zeros_of(self)

    def reshape(self, *shape, order="C", copy=None):
        shape = shape[0] if len(shape) == 1 else shape
        return view_or_compute(np.reshape, self, shape, order=order)

    def transpose(self, *axes):
        return as_view(self, self._view.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return as_view(self, self._view.swapaxes(axis1, axis2))

    def squeeze(self, axis=None):
        return as_view(self, self._view.squeeze(axis))

    def ravel(self, order="C"):
        return view_or_compute(np.ravel, self, order=order)

    def diagonal(self, offset=0, axis1=0, axis2=1):
        return as_view(self, self._view.diagonal(offset, axis1, axis2))

    def view(self, dtype=None, type=None):
        return as_view(self, self._view.view() if dtype is None else self._view.view(dtype))

    def __getitem__(self, index):
        index = _own_index(index)
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(x, ndarray) for x in parts):
            if any(isinstance(x, ndarray) and x.dtype == bool for x in parts):
                return eager(_take, self, index)  # the number of elements has to be known
            return compute(_take, self, index)
        return as_view(self, self._view[(*parts, ...) if not any(x is Ellipsis for x in parts) else parts])

    def __setitem__(self, index, value):
        index = _own_index(index)
        if isinstance(value, np.ndarray):
            whole = index is Ellipsis or all(isinstance(x, slice) and x == slice(None) for x in np.atleast_1d(index))
            if not whole or value.shape != self.shape or value.dtype != self.dtype:
                raise unsupported(value)
            self.set(value)
            return
        if not isinstance(value, (*_SCALARS, ndarray)):
            value = _from_host(np.asarray(value))
        parts = index if isinstance(index, tuple) else (index,)
        masked = any(isinstance(x, ndarray) and x.dtype == bool for x in parts)
        if masked and isinstance(value, ndarray) and value.ndim:
            wait_to_read()
        target = self._view
        check_broadcast(target, index, value)
        arrays = [x for x in parts if isinstance(x, ndarray)]

        def assign(target, value, *arrays):
            found = iter(arrays)
            own = tuple(next(found) if isinstance(x, ndarray) else x for x in parts)
            target[own] = value

        enqueue("copy" if not arrays else "scatter", assign, [self, value, *arrays])

    # copies

    def copy(self, order="C"):
        result = ndarray(self.shape, self.dtype, strides=_strides(self._view, order))
        enqueue("copy", np.copyto, [result, self])
        return result

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype:
            return self
        if casting is not None and not np.can_cast(self.dtype, dtype, casting):
            raise TypeError(f"Cannot cast array data from {self.dtype!r} to {dtype!r} by the rule {casting!r}")
        result = ndarray(self.shape, dtype, strides=_strides(self._view, order, dtype))
        enqueue("copy", _cast, [result, self])
        return result

    def flatten(self, order="C"):
        return compute(np.ravel, self, order=order).copy()

    def fill(self, value):
        self[...] = value

    # reductions and the like

    def all(self, axis=None, out=None, keepdims=False):
        return compute(np.all, self, axis=axis, out=out, keepdims=keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return compute(np.any, self, axis=axis, out=out, keepdims=keepdims)

    def argmax(self, axis=None, out=None, dtype=None, keepdims=False):
        return compute(np.argmax, self, axis=axis, out=out, keepdims=keepdims)

    def argmin(self, axis=None, out=None, dtype=None, keepdims=False):
        return compute(np.argmin, self, axis=axis, out=out, keepdims=keepdims)

    def argsort(self, axis=-1, kind=None):
        return compute(np.argsort, self, axis=axis, kind=kind)

    def clip(self, min=None, max=None, out=None):
        return compute(np.clip, self, min, max, out=out)

    def conj(self):
        return compute(np.conj, self)

    def cumprod(self, axis=None, dtype=None, out=None):
        return compute(np.cumprod, self, axis=axis, dtype=dtype, out=out)

    def cumsum(self, axis=None, dtype=None, out=None):
        return compute(np.cumsum, self, axis=axis, dtype=dtype, out=out)

    def dot(self, b, out=None):
        return compute(np.dot, self, b, out=out)

    def max(self, axis=None, out=None, keepdims=False):
        return compute(np.max, self, axis=axis, out=out, keepdims=keepdims)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        return compute(np.mean, self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return compute(np.min, self, axis=axis, out=out, keepdims=keepdims)

    def nonzero(self):
        return eager(np.nonzero, self)

    def prod(self, axis=None, dtype=None, out=None, keepdims=None):
        return compute(np.prod, self, axis=axis, dtype=dtype, out=out, keepdims=bool(keepdims))

    def repeat(self, repeats, axis=None):
        return compute(np.repeat, self, repeats, axis=axis)

    def round(self, decimals=0, out=None):
        return compute(np.round, self, decimals, out=out)

    def sort(self, axis=-1, kind=None):
        enqueue("sort", lambda view: view.sort(axis=axis), [self])

    def std(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return compute(np.std, self, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=keepdims)

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return compute(np.sum, self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def take(self, indices, axis=None, out=None):
        return compute(np.take, self, indices, axis=axis, out=out)

    def trace(self, offset=0, axis1=0, axis2=1, dtype=None, out=None):
        return compute(np.trace, self, offset, axis1, axis2, dtype, out=out)

    def var(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
        return compute(np.var, self, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=keepdims)


class _Flags:
    def __init__(self, flags, own):
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata, self.forc, self.fnc = own, flags.forc, flags.fnc

    def __getitem__(self, name):
        return getattr(self, name.lower())


def _operators():
    names = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
        "floordiv": np.floor_divide, "mod": np.remainder, "and": np.bitwise_and, "or": np.bitwise_or,
        "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift, "matmul": np.matmul,
    }  # fmt: skip

    def foreign(x):
        return not isinstance(x, (*_SCALARS, ndarray, np.ndarray, list, tuple)) and x is not None

    def add(name, function):
        def forward(self, other):
            return NotImplemented if foreign(other) else compute(function, self, other)

        def backward(self, other):
            return NotImplemented if foreign(other) else compute(function, other, self)

        def inplace(self, other):
            return NotImplemented if foreign(other) else compute(function, self, other, out=self)

        for prefix, method in (("", forward), ("r", backward), ("i", inplace)):
            method.__name__ = f"__{prefix}{name}__"
            setattr(ndarray, method.__name__, method)

    def compare(name, function):
        def method(self, other):
            return NotImplemented if foreign(other) else compute(function, self, other)

        method.__name__ = f"__{name}__"
        setattr(ndarray, method.__name__, method)

    def unary(name, function):
        def method(self):
            return compute(function, self)

        method.__name__ = f"__{name}__"
        setattr(ndarray, method.__name__, method)

    for name, function in names.items():
        add(name, function)
    for name, function in {
        "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
        "ne": np.not_equal,
    }.items():  # fmt: skip
        compare(name, function)
    for name, function in {
        "neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert,
    }.items():  # fmt: skip
        unary(name, function)


_operators()


# queued work


def _guarded(name, run, views):
    """Work on memory that must be allocated when it is done; numbers that are not finite are no matter of the host."""
    addresses = [_address(view) for view in views if view.size]

    def checked():
        for address in addresses:
            try:
                memory.allocation(address)
            except IllegalAddress as error:
                raise work.DeviceFault(f"{name}: {error}") from None
        with np.errstate(all="ignore"):
            run()

    return checked


def count(name, queue, of):
    """Count a launch, or a recorded one."""
    if queue.recorded is None:
        of[name] += 1
    else:
        counts.recorded += 1


def enqueue(name, function, arguments):
    """Queue ``function(*arguments)`` on the memory of the arrays; they may be gone when it is done."""
    queue = work.current()
    values = [_replaced(x) for x in arguments]
    views = _views(arguments)
    if views and not any(view.size for view in views):
        return
    count(name, queue, counts.operations)
    with refusals:
        queue.add(name, _guarded(name, lambda: function(*values), views))


def _replaced(x):
    if isinstance(x, ndarray):
        return x._view
    if isinstance(x, (list, tuple)):
        return type(x)(map(_replaced, x)) if type(x) in (list, tuple) else x
    return x


def _views(x):
    if isinstance(x, ndarray):
        return [x._view]
    if isinstance(x, (list, tuple)):
        return [view for y in x for view in _views(y)]
    return []


def _check(x):
    """Refuse arrays of the host."""
    if isinstance(x, np.ndarray):
        raise unsupported(x)
    if isinstance(x, (list, tuple)):
        for y in x:
            _check(y)


def _zeros(x):
    if isinstance(x, ndarray):
        return np.zeros(x.shape, x.dtype)
    if isinstance(x, (list, tuple)):
        return type(x)(map(_zeros, x)) if type(x) in (list, tuple) else x
    return x


def _key(x, weak):
    if isinstance(x, ndarray):
        return (x.shape, x.dtype.str)
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, *(_key(y, weak) for y in x))
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    return (type(x).__name__, None if weak and isinstance(x, (float, complex)) else x)


_known: dict[Any, Any] = {}


def outcome(function, args, kwargs):
    """Shape and dtype of the results; a tuple of them where there are several."""
    weak = isinstance(function, np.ufunc)
    key = (function, _key(args, weak), tuple((k, _key(x, weak)) for k, x in sorted(kwargs.items())))
    try:
        found = _known.get(key)
    except TypeError:
        key, found = None, None
    if found is None:
        with np.errstate(all="ignore"):
            result = function(*_zeros(args), **{k: _zeros(x) for k, x in kwargs.items()})
        found = _described(result)
        if key is not None and len(_known) < 20000:
            _known[key] = found
    return found


def _described(x):
    if isinstance(x, (tuple, list)):
        return [_described(y) for y in x]
    x = np.asarray(x)
    return x.shape, x.dtype


def compute(function, *args, out=None, name=None, **kwargs):
    """Queue a function of NumPy; its results have to be known by shape and dtype."""
    _check(args)
    _check(tuple(kwargs.values()))
    if not isinstance(function, np.ufunc):
        args = tuple(args)
    found = outcome(function, args, kwargs)
    many = isinstance(found, list)
    shapes = found if many else [found]
    if out is None:
        results = [ndarray(shape, dtype) for shape, dtype in shapes]
    else:
        results = list(out) if isinstance(out, tuple) else [out]
        for result, (shape, dtype) in zip(results, shapes, strict=True):
            if not isinstance(result, ndarray):
                raise TypeError("return arrays must be of ArrayType")
            if np.broadcast_shapes(result.shape, shape) != result.shape:
                raise ValueError(f"non-broadcastable output operand with shape {result.shape}; {shape} is needed")
            if not np.can_cast(dtype, result.dtype, "same_kind"):
                raise TypeError(f"output (typecode {dtype.char!r}) could not be coerced to {result.dtype.char!r}")
    targets = [x._view for x in results]

    def run(_, *arguments):
        values = function(*arguments, **plain)
        for target, value in zip(targets, values if many else [values], strict=True):
            np.copyto(target, value, casting="unsafe")

    plain = {k: _replaced(x) for k, x in kwargs.items()}
    enqueue(name or function.__name__, run, [[*results, *[x for x in kwargs.values() if _views(x)]], *args])
    return tuple(results) if many else results[0]


def wait_to_read():
    """The host has to know a number, as the size of a result."""
    if work.current().recorded is not None:
        raise RuntimeError(_CAPTURING)
    counts.reads += 1
    counts.read_bytes += 8
    with refusals:
        work.current().wait()


def eager(function, *args, **kwargs):
    """Compute what has a size that depends on numbers: CuPy waits for them."""
    _check(args)
    wait_to_read()
    with np.errstate(all="ignore"):
        values = function(*_replaced(args), **{k: _replaced(x) for k, x in kwargs.items()})

    def moved(value):
        value = np.array(value)
        result = ndarray(value.shape, value.dtype)
        work.current().add(function.__name__, lambda: np.copyto(result._view, value))  # after what its memory held
        return result

    counts.operations[function.__name__] += 1
    with np.errstate(all="ignore"):
        if isinstance(values, tuple):
            parts = [moved(x) for x in values]
            return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)
        return [moved(x) for x in values] if isinstance(values, list) else moved(values)


def as_view(array, view):
    """The array of a view on its memory."""
    if not view.size and view.dtype == array.dtype and not memory.owns(view):
        view = memory.view(array.data.ptr, view.shape, view.dtype)
    result = object.__new__(ndarray)
    result._view = view
    result.base = array if array.base is None else array.base
    offset = _address(view) - array.data.ptr if view.size else 0
    result.data = MemoryPointer(array.data.mem, array.data.ptr - array.data.mem.ptr + offset)
    return result


def view_or_compute(function, array, *args, **kwargs):
    """A view where NumPy makes one, else a copy."""
    if not isinstance(array, ndarray):
        raise unsupported(array)
    result = function(array._view, *args, **kwargs)
    if memory.owns(result) or not result.size:
        return as_view(array, result)
    return compute(function, array, *args, name="copy", **kwargs)


def upload(host, view, queue=None):
    """Queue a copy of what the host array holds now."""
    queue = queue or work.current()
    if queue.recorded is not None:
        raise RuntimeError(_CAPTURING)
    counts.writes += 1
    counts.written_bytes += host.nbytes
    staged = host.copy()
    with refusals:
        queue.add("copy from the host", _guarded("set", lambda: np.copyto(view, staged), [view]))


def _from_host(host, order="C"):
    host = np.asarray(host)
    if not host.dtype.isnative:
        host = host.astype(host.dtype.newbyteorder("="))
    result = ndarray(host.shape, host.dtype, strides=_strides(host, order))
    upload(host, result._view)
    return result


def _strides(view, order, dtype=None):
    """Strides of a dense array in an order; K is that of the view."""
    if order in ("C", None):
        return None
    dense = np.lib.stride_tricks.as_strided(np.empty((), view.dtype), view.shape, view.strides)
    dtype = np.dtype(dtype or view.dtype)
    if order == "A":
        order = "F" if view.flags.fnc else "C"
    if order == "F":
        steps = np.cumprod((dtype.itemsize, *view.shape[:-1])) if view.ndim else ()
        return tuple(int(x) for x in steps)
    axes = sorted(range(dense.ndim), key=lambda k: (-abs(view.strides[k]), k))
    strides, step = [0] * dense.ndim, dtype.itemsize
    for k in reversed(axes):
        strides[k] = step
        step *= max(1, view.shape[k])
    return tuple(strides)


def zeros_of(array):
    result = ndarray(array.shape, array.dtype)
    result.fill(0)
    return result


def _cast(target, source):
    np.copyto(target, source, casting="unsafe")


def _take(array, index):
    return array[index]


def _own_index(index):
    """Lists and host arrays of indices go to the device."""
    if isinstance(index, (list, np.ndarray)):
        return _from_host(np.asarray(index))
    if isinstance(index, tuple):
        return tuple(_from_host(np.asarray(x)) if isinstance(x, (list, np.ndarray)) else x for x in index)
    return index


def check_broadcast(target, index, value):
    """Refuse values that do not fit, where indices alone tell."""
    parts = index if isinstance(index, tuple) else (index,)
    if not isinstance(value, ndarray) or any(isinstance(x, ndarray) and x.dtype == bool for x in parts):
        return
    shape = outcome(_take, (_Shape(target), index), {})[0]
    lost = value.shape
    while len(lost) > len(shape) and lost[0] == 1:
        lost = lost[1:]
    if len(lost) > len(shape) or np.broadcast_shapes(lost, shape) != shape:
        raise ValueError(f"could not broadcast input array from shape {value.shape} into shape {shape}")


def _Shape(view):
    result = object.__new__(ndarray)
    result._view = view
    return result
