"""Sums over the neighborhood and over labels, of blocks: what stays in registers is written out by programs.

A block (labels, BLOCK) stands in scratch; the neighbors of its pixels stand in a ring (``_blocks``).
"""

from __future__ import annotations

from typing import Any

from . import _vectors
from ._blocks import AHEAD, BLOCK, margin
from ._numba import inline
from ._vectors import filled, further, lanes_of, load, multiply_add, place, store


@inline
def average(packed, ring, slots, radius, x0, n, column):
    """column[j] = Σ_o packed_o · (neighbor o), of n pixels from x0 on in the ring.

    The sums of single rows of the neighborhood are added: chains of nine additions would be waited for.
    """
    side, lanes, labels, columns = 2 * radius + 1, lanes_of(ring), ring.shape[1], ring.shape[2]
    first, rows = x0 + margin(radius) - radius, slots.size
    for x in range(0, n, lanes):
        w, target = place(packed, (0, x)), place(column, (0, x))
        if side == 3:
            _sum_3_of_3(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(3, rows, 3):
                _sum_3_of_3_more(w, ring, slots, k, first + x, labels, columns, target)
        elif side == 5:
            _sum_5_of_5(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(5, rows, 5):
                _sum_5_of_5_more(w, ring, slots, k, first + x, labels, columns, target)
        elif side == 7:
            _sum_1_of_7(w, ring, slots, 0, first + x, labels, columns, target)
            for k in range(1, rows):
                _sum_1_of_7_more(w, ring, slots, k, first + x, labels, columns, target)
        else:
            for j in range(labels):
                total = filled(w, 0)
                for k in range(rows):
                    row = place(ring, (slots[k], j, first + x))
                    for d in range(side):
                        total = multiply_add(load(w, (k * side + d) * BLOCK), load(row, d), total)
                store(target, j * BLOCK, total)


@inline
def correlate(factor, ring, slots, radius, x0, n, sums):
    """sums[o] += Σ_j factor_j · (neighbor o of label j), of n pixels from x0 on in the ring."""
    side, lanes, labels, columns = 2 * radius + 1, lanes_of(ring), ring.shape[1], ring.shape[2]
    first = x0 + margin(radius) - radius
    rows = slots.size
    for x in range(0, n, lanes):
        z, target = place(factor, (0, x)), place(sums, (0, x))
        if side == 3:
            for k in range(0, rows, 3):
                _add_3_of_3(z, ring, slots, k, first + x, labels, columns, target)
        elif side == 5:
            for k in range(0, rows - 1, 2):
                _add_2_of_5(z, ring, slots, k, first + x, labels, columns, target)
            if rows % 2:
                _add_1_of_5(z, ring, slots, rows - 1, first + x, labels, columns, target)
        elif side == 7:
            for k in range(rows):
                _add_1_of_7(z, ring, slots, k, first + x, labels, columns, target)
        else:
            for k in range(rows):
                for d in range(side):
                    total = load(target, (k * side + d) * BLOCK)
                    for j in range(labels):
                        row = place(ring, (slots[k], j, first + x))
                        total = multiply_add(load(z, j * BLOCK), load(row, d), total)
                    store(target, (k * side + d) * BLOCK, total)


@inline(always=True)
def replicate(s, s_step, v, v_step, result, step, labels, n):
    """result_j = S_j (v_j − Σ_l S_l v_l) of n pixels; the planes of the labels are a step apart.

    The result may be v.
    """
    lanes = lanes_of(s)
    whole, end = n // (8 * lanes) * (8 * lanes), n // lanes * lanes
    for x in range(0, whole, 8 * lanes):
        _replicate_8(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)
    for x in range(whole, end, lanes):
        _replicate_1(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)
    for x in range(end, n):
        _replicate_number(further(s, x), s_step, further(v, x), v_step, further(result, x), step, labels)


def _weighted(rows, side, more=False):
    """Of all labels: target_j = Σ_o w_o · (neighbor o), a vector, of so many rows of the neighborhood from the k-th on.

    With `more` the sum is added to what the target holds. Weights and sums stay in registers, which only a loop without
    loops inside does: it is written out by a program, for all rows of 3×3

        def add(w, ring, slots, k, x, labels, columns, target):
            w = further(w, k * 192)
            w0, w1, … = load(w, 0), load(w, 64), …
            r0, r1, r2 = place(ring, (slots[k + 0], 0, x)), …
            for _ in range(labels):
                s0, s1, s2 = w0 * load(r0, 0), w3 * load(r1, 0), w6 * load(r2, 0)
                s0, s1, s2 = multiply_add(w1, load(r0, 1), s0), …
                …
                store(target, 0, s0 + s1 + s2)
                r0, r1, r2, target = further(r0, columns), …, further(target, 64)
    """
    lines = ["def add(w, ring, slots, k, x, labels, columns, target):", f" w = further(w, k * {side * BLOCK})"]
    lines += [f" w{o} = load(w, {o * BLOCK})" for o in range(rows * side)]
    lines += [f" r{d} = place(ring, (slots[k + {d}], 0, x))" for d in range(rows)]
    lines += [" for _ in range(labels):"]
    lines += [f"  s{d} = w{d * side} * load(r{d}, 0)" for d in range(rows)]
    for o in range(1, side):
        lines += [f"  s{d} = multiply_add(w{d * side + o}, load(r{d}, {o}), s{d})" for d in range(rows)]
    total = " + ".join([*(["load(target, 0)"] if more else []), *(f"s{d}" for d in range(rows))])
    lines += [f"  store(target, 0, {total})", f"  target = further(target, {BLOCK})"]
    lines += [f"  r{d} = further(r{d}, columns)" for d in range(rows)]
    return _made(lines, f"_sum_{rows}_of_{side}{'_more' if more else ''}")


def _correlated(rows, side):
    """target_o += Σ_j z_j · (neighbor o of label j) of so many rows from the k-th on, written out, too."""
    count = rows * side
    lines = [
        "def add(z, ring, slots, k, x, labels, columns, target):",
        f" target = further(target, k * {side * BLOCK})",
    ]
    lines += [f" t{o} = load(target, {o * BLOCK})" for o in range(count)]
    lines += [f" r{d} = place(ring, (slots[k + {d}], 0, x))" for d in range(rows)]
    lines += [" for _ in range(labels):", "  f = load(z, 0)", f"  z = further(z, {BLOCK})"]
    lines += [f"  t{o} = multiply_add(f, load(r{o // side}, {o % side}), t{o})" for o in range(count)]
    lines += [f"  r{d} = further(r{d}, columns)" for d in range(rows)]
    lines += [f" store(target, {o * BLOCK}, t{o})" for o in range(count)]
    return _made(lines, f"_add_{rows}_of_{side}")


def _replicated(vectors, name, *, get="load", give="store", far=False):
    """``replicate`` for so many vectors, or for one number, written out: the sums Σ_l S_l v_l stay in registers.

    Labels are gone through forth and back, as the last ones are still in cache.
    """
    steps = [f"{k} * lanes" for k in range(vectors)]
    lines = ["def add(s, s_step, v, v_step, result, step, labels):", " lanes = lanes_of(s)"]
    lines += [f" d{k} = {'filled(s, 0)' if get == 'load' else 'zero(s)'}" for k in range(vectors)]
    lines += [" for _ in range(labels):"]
    lines += [f"  prefetch({p}, {AHEAD}, {vectors})" for p in ("sv" if far else "s") if vectors > 1]
    lines += [f"  d{k} = multiply_add({get}(s, {x}), {get}(v, {x}), d{k})" for k, x in enumerate(steps)]
    lines += [
        "  s, v = further(s, s_step), further(v, v_step)",
        " s, v = further(s, -labels * s_step), further(v, -labels * v_step)",
    ]
    lines += [" for _ in range(labels):"]
    lines += [f"  {give}(result, {x}, {get}(s, {x}) * ({get}(v, {x}) - d{k}))" for k, x in enumerate(steps)]
    lines += ["  s, v, result = further(s, s_step), further(v, v_step), further(result, step)"]
    return _made(lines, name)


#: The loops that every block of the common neighborhood goes through.
ALWAYS = ("_sum_3_of_3", "_add_3_of_3", "_replicate_8")


def _made(lines, name):
    made: dict[str, Any] = {"__name__": __name__} | vars(_vectors)
    exec("\n".join(lines), made)
    return inline(made["add"], name=name, always=name in ALWAYS)


_sum_3_of_3, _sum_3_of_3_more = _weighted(3, 3), _weighted(3, 3, more=True)
_sum_5_of_5, _sum_5_of_5_more = _weighted(5, 5), _weighted(5, 5, more=True)
_sum_1_of_7, _sum_1_of_7_more = _weighted(1, 7), _weighted(1, 7, more=True)
_add_3_of_3, _add_2_of_5, _add_1_of_5, _add_1_of_7 = (_correlated(*size) for size in ((3, 3), (2, 5), (1, 5), (1, 7)))
_replicate_8, _replicate_1 = _replicated(8, "_replicate_8"), _replicated(1, "_replicate_1")
_replicate_number = _replicated(1, "_replicate_number", get="number", give="put")
