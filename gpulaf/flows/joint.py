"""Several linearized flows as one linear system V' = 𝒜V + ℬ, for the integrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..backend.array import contiguous, like, namespace, slot, store
from ..backend.products import label_product
from .linear import LinearFlow

__all__ = ["JointFlow", "Rest", "blocks", "parted"]

#: A matrix from the labels of flow r to those of flow s for some (r, s): float64 arrays on the host.
Matrices = Mapping[tuple[int, int], np.ndarray]


class Rest(NamedTuple):
    """Flows that do not move while others run: constant sources of these."""

    #: C from their K labels to all labels of the others, (ΣJ_s, K).
    mixing: np.ndarray
    #: L likewise.
    couplings: np.ndarray
    #: Their v_r, (H, K, W).
    field: Any

    @property
    def mixed(self) -> Any:
        """Σ_r C_sr v_r."""
        return label_product(self.mixing, self.field)

    def adjoint(self, u: Any, averaged: Any) -> Any:
        """The derivative in v_r from that in the sources and Ω_sᵀ R_S of it, (H, K, W)."""
        return label_product(self.mixing.T, averaged) + label_product(self.couplings.T, u)


class JointFlow:
    """Flows that run together, their labels one after the other in one field: the system of one exponential.

        (𝒜V)_s = T_s/κ [R_S Ω_s Σ_r C_sr v_r + Σ_r L_sr v_r],   ℬ_s = T_s/κ [S_s − 1/J_s + the same of what rests]

    over the time κ = max_s T_s max(1, ‖C_s·‖_∞ + 2‖L_s·‖_∞). In this unit ‖𝒜‖_∞ ≤ 1/2, as of a single flow, so that the
    integrators choose degree and substeps from the time alone, and tiles are exact. A single flow has κ = T, 𝒜 = A.

    Parameters
    ----------
    flows : sequence of LinearFlow
        On the same pixels; only the numbers of their labels may differ.
    times : sequence of float
        T_s of each flow.
    mixing, couplings : (ΣJ_s, ΣJ_s) arrays
        C and L in blocks, from all labels to all labels.
    rest : Rest, optional
        Flows that do not move.

    Attributes
    ----------
    time : float
        κ.
    alpha : float
        A bound of ‖𝒜‖_∞ with the similarities of these flows, at most 1/2.
    """

    #: The gradient has no kernel that recomputes the series.
    in_one_wave = False

    def __init__(
        self, flows: Sequence[LinearFlow], times: Sequence[float], mixing: Any, couplings: Any, rest: Rest | None = None
    ) -> None:
        self.flows, self.averaging = list(flows), flows[0].averaging
        counts = [flow.S.shape[-2] for flow in flows]
        ends = np.cumsum([0, *counts])
        self.parts = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        mixed, added = ([_norm(matrix[part]) for part in self.parts] for matrix in (mixing, couplings))
        norms = list(zip(times, mixed, added, strict=True))
        self.time = max(T * max(1.0, C + 2 * L) for T, C, L in norms)
        self.alpha = max(T * (flow.alpha * C + L) for flow, (T, C, L) in zip(flows, norms, strict=True)) / self.time
        self.rates = np.repeat(np.asarray(times, float) / self.time, counts)[:, None]
        self.mixing, self.couplings, self.rest = self.rates * mixing, self.rates * couplings, rest
        self._plain = bool((self.mixing == np.eye(len(self.mixing))).all())

    @cached_property
    def S(self) -> Any:
        """The similarity maps of all flows, (H, ΣJ_s, W)."""
        return self._joined([flow.S for flow in self.flows])

    @cached_property
    def B(self) -> Any:
        """ℬ, (H, ΣJ_s, W)."""
        start = self._joined([flow.B for flow in self.flows])
        if self.rest is not None:
            start = start + self._averaged(self.rest.mixed) + label_product(self.rest.couplings, self.rest.field)
        return start * like(self.rates, start)

    def source(self, out: Any) -> Any:
        """Write ℬ to `out`."""
        return store(self.B, out)

    def A(self, v: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """𝒜 v, plus scale·source where there is one, in `out` if given."""
        product = self._averaged(self.mixed(v))
        if self.couplings.any():
            product = product + label_product(self.couplings, v)
        return store(product if source is None else float(scale) * source + product, out)

    def At(self, u: Any, source: Any = None, scale: float = 1.0, *, out: Any = None) -> Any:
        """𝒜ᵀu, plus scale·source where there is one, in `out` if given."""
        product = self.averaged_adjoint(u)
        product = product if self._plain else label_product(self.mixing.T, product)
        if self.couplings.any():
            product = product + label_product(self.couplings.T, u)
        return store(product if source is None else float(scale) * source + product, out)

    def chain(
        self, x: Any, source: Any, scales: Any, *, out: Any, transposed: bool = False, backward: bool = False
    ) -> Any:
        """Products in succession, as :meth:`gpulaf.flows.LinearFlow.chain`."""
        product = self.At if transposed else self.A
        for k, scale in enumerate(scales):
            x = product(x, source, float(scale), out=out[slot(k, out.shape[0], backward), ...])
        return out

    def mixed(self, v: Any) -> Any:
        """T_s/κ Σ_r C_sr v_r, what R_S Ω_s is applied to."""
        return v if self._plain else label_product(self.mixing, v)

    def averaged_adjoint(self, u: Any) -> Any:
        """Ω_sᵀ R_S u_s of every flow."""
        return self._joined([flow.At(x) for flow, x in zip(self.flows, self.split(u), strict=True)])

    def split(self, field: Any) -> list[Any]:
        """The fields of the single flows, (…, H, J_s, W) each."""
        return [contiguous(field[..., part, :]) for part in self.parts]

    def _averaged(self, field: Any) -> Any:
        return self._joined([flow.A(x) for flow, x in zip(self.flows, self.split(field), strict=True)])

    def _joined(self, fields: Sequence[Any]) -> Any:
        return fields[0] if len(fields) == 1 else namespace(fields[0]).concat(list(fields), axis=-2)


def blocks(matrices: Matrices, rows: Mapping[int, int], columns: Mapping[int, int]) -> np.ndarray:
    """The matrix of the given blocks, 0 elsewhere; `rows` and `columns` map each flow to the number of its labels."""
    empty = [[np.zeros((J, K)) for K in columns.values()] for J in rows.values()]
    for i, s in enumerate(rows):
        for k, r in enumerate(columns):
            empty[i][k] = matrices.get((r, s), empty[i][k])
    return np.block(empty)


def parted(
    matrix: np.ndarray, rows: Mapping[int, int], columns: Mapping[int, int]
) -> dict[tuple[int, int], np.ndarray]:
    """The blocks of a matrix by (r, s): what :func:`blocks` joins."""
    down, right = np.cumsum(list(rows.values()))[:-1], np.cumsum(list(columns.values()))[:-1]
    lines = zip(rows, np.split(matrix, down), strict=True)
    return {(r, s): x for s, line in lines for r, x in zip(columns, np.split(line, right, axis=1), strict=True)}


def _norm(matrix: np.ndarray) -> float:
    """‖·‖_∞."""
    return float(abs(matrix).sum(axis=1).max())
