"""Loops over the numbers of a row that the ``cpu`` kernels share. The compiler fills vector lanes by itself."""

from __future__ import annotations

from ._numba import inline


@inline
def clear(row):
    for x in range(row.size):
        row[x] = 0


@inline
def copy(row, result):
    for x in range(row.size):
        result[x] = row[x]


@inline
def multiply_add(a, b, result):
    for x in range(result.size):
        result[x] += a[x] * b[x]


@inline
def add_scaled(a, scale, result):
    for x in range(result.size):
        result[x] += scale * a[x]
