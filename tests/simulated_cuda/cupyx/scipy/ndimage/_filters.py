"""Gaussian filters as CuPy computes them: where its numbers are not those of SciPy, they are not here, either.

Sums are of the type of the image, float32 at least, while SciPy's are float64. An axis on which the Gaussian is cut
off at its centre is left as it is, even where a derivative is asked for.
"""

import operator

import cupy
import numpy as np
from cupy._array import enqueue

#: Sources of the values beyond the border, for a position i on n pixels; -1 takes the constant.
BEYOND = {
    "reflect": lambda i, n: np.minimum(i % (2 * n), 2 * n - 1 - i % (2 * n)),
    "mirror": lambda i, n: np.minimum(i % (2 * n - 2), 2 * n - 2 - i % (2 * n - 2)) if n > 1 else 0 * i,
    "nearest": lambda i, n: np.clip(i, 0, n - 1),
    "wrap": lambda i, n: i % n,
    "constant": lambda i, n: np.where((i < 0) | (i >= n), -1, i),
}
BEYOND |= {"grid-mirror": BEYOND["reflect"], "grid-reflect": BEYOND["reflect"], "grid-wrap": BEYOND["wrap"]}


def gaussian_filter(
    input, sigma, order=0, output=None, mode="reflect", cval=0.0, truncate=4.0, radius=None, axes=None
):  # fmt: skip
    """Smooth an image, or take derivatives of the smoothed image."""
    if not isinstance(input, cupy.ndarray):
        raise TypeError(f"Unsupported type {type(input)}")
    axes = _axes(axes, input.ndim)
    sigmas, orders = _each(sigma, len(axes), "sigma", float), _each(order, len(axes), "order", int)
    modes, radii = _each(mode, len(axes), "mode", str), _each(radius, len(axes), "radius")
    passes = []
    for axis, s, o, m, r in zip(axes, sigmas, orders, modes, radii, strict=True):
        if m not in BEYOND:
            raise RuntimeError(f"boundary mode not supported (actual: {m})")
        r = int(float(truncate) * s + 0.5) if r is None else int(r)
        if s > 1e-15 and r > 0:
            passes.append((gaussian_kernel(s, o, r), axis, m))
    result = _output(output, input)
    if not passes:
        result[...] = input
    source = input
    for k, (kernel, axis, m) in enumerate(passes):
        target = result if k == len(passes) - 1 else cupy.empty(input.shape, dtype=result.dtype)
        enqueue("correlate1d", correlate, [source, target, kernel.copy(), axis, m, cval])
        source = target
    return result


def correlate(values, out, kernel, axis, mode, cval):
    """Σ_k kernel_k values_{i + k − r} along an axis."""
    wide = np.promote_types(values.dtype, np.float32)
    n, radius = values.shape[axis], len(kernel) // 2
    moved = np.moveaxis(values, axis, -1).astype(wide)
    total = np.zeros_like(moved)
    for k, weight in enumerate(kernel.astype(wide)):
        source = BEYOND[mode](np.arange(n) + k - radius, n)
        total += np.where(source < 0, wide.type(cval), moved[..., source]) * weight
    out[...] = np.moveaxis(total, -1, axis)


def gaussian_kernel(sigma, order, radius):
    """Weights of a Gaussian or of its derivative, −radius … radius."""
    if order < 0:
        raise ValueError("order must be non-negative")
    x = np.arange(-radius, radius + 1)
    phi = np.exp(-0.5 / sigma**2 * x**2)
    phi /= phi.sum()
    polynomial = np.polynomial.Polynomial([1.0])
    for _ in range(order):  # (q φ)' = (q' − q x/σ²) φ
        polynomial = polynomial.deriv() - polynomial * np.polynomial.Polynomial([0.0, 1 / sigma**2])
    return (polynomial(x) * phi)[::-1]


def _axes(axes, ndim):
    if axes is None:
        return tuple(range(ndim))
    axes = tuple(operator.index(a) for a in (axes if isinstance(axes, (tuple, list)) else (axes,)))
    if any(not -ndim <= a < ndim for a in axes):
        raise np.exceptions.AxisError(f"specified axis: {axes} is out of range")
    if len({a % ndim for a in axes}) != len(axes):
        raise ValueError("axes must be unique")
    return tuple(a % ndim for a in axes)


def _each(value, count, name, kind=lambda x: x):
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [kind(value)] * count
    values = [kind(x) for x in value]
    if len(values) != count:
        raise RuntimeError(f"{name} must have length equal to input rank")
    return values


def _output(output, input):
    if output is None:
        return cupy.empty(input.shape, dtype=input.dtype)
    if not isinstance(output, cupy.ndarray):
        return cupy.empty(input.shape, dtype=output)
    if output.shape != input.shape:
        raise RuntimeError("output shape not correct")
    return output
