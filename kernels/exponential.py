"""e^x on rows, in vector lanes: the compiler calls the scalar exponential of the C library once for each element.

    e^x = 2ⁿ e^r,   n = round(x / log 2),   r = x − n log 2,   |r| ≤ log(2)/2

e^r is a Taylor polynomial that reaches half a rounding; n is read off the mantissa of x / log 2 + 1.5·2^(mantissa bits)
and 2ⁿ is put together from its bits. Arguments are cut where 2ⁿ leaves the normal numbers.
"""

from __future__ import annotations

from functools import cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from ._numba import helper


class Constants(NamedTuple):
    """What the exponential of one dtype needs."""

    #: 1/k! from the highest degree down to 0.
    coefficients: np.ndarray
    #: 1/log 2, log 2 in a short and a small part, the number that rounds, the lowest and the highest argument.
    numbers: np.ndarray
    #: Bits of the number that rounds, exponent bias, bits of the mantissa.
    bits: np.ndarray


@cache
def constants(dtype: Any) -> Constants:
    """Of float32 or float64."""
    dtype = np.dtype(dtype)
    info, integer = np.finfo(dtype), np.dtype(f"i{dtype.itemsize}")
    degree = {4: 7, 8: 13}[dtype.itemsize]
    magic = np.array(1.5 * 2.0**info.nmant, dtype)
    short = np.round(np.log(2) * 2.0 ** (info.nmant // 2)) / 2.0 ** (info.nmant // 2)  # times n without rounding
    small = float(np.longdouble("0.6931471805599453094172321214581765680755") - np.longdouble(short))
    numbers = [1 / np.log(2), short, small, magic, info.minexp * np.log(2), (info.maxexp - 1) * np.log(2)]
    return Constants(
        np.array([1 / factorial(k) for k in range(degree, -1, -1)], dtype),
        np.array(numbers, dtype),
        np.array([magic.view(integer), info.maxexp - 1, info.nmant], integer),
    )


@helper
def new_powers(constants, count):
    """Scratch for so many numbers: the powers 2ⁿ, as integers."""
    return np.empty(count, constants.bits.dtype)


@helper
def exponential(row, constants, powers, n):
    """row = e^row of the first n numbers; `powers` is scratch of at least that size."""
    c, (rate, short, small, magic) = constants.coefficients, constants.numbers[:4]
    lowest, highest = constants.numbers[4], constants.numbers[5]
    magic_bits, bias, mantissa = constants.bits[0], constants.bits[1], constants.bits[2]
    power = powers[:n].view(row.dtype)
    for i in range(n):
        row[i] = min(max(row[i], lowest), highest)
    for i in range(n):
        power[i] = row[i] * rate + magic
    for i in range(n):
        count = power[i] - magic
        row[i] = (row[i] - count * short) - count * small
    for i in range(n):
        powers[i] = (powers[i] - magic_bits + bias) << mantissa
    if c.size == 8:
        for i in range(n):
            r = row[i]
            e = (((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]
            row[i] = (((e * r + c[5]) * r + c[6]) * r + c[7]) * power[i]
    else:
        for i in range(n):
            r = row[i]
            e = ((((((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]) * r + c[5]) * r + c[6]) * r + c[7]
            row[i] = ((((((e * r + c[8]) * r + c[9]) * r + c[10]) * r + c[11]) * r + c[12]) * r + c[13]) * power[i]
