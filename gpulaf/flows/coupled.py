"""Coupled linearized flows (Sect. 5.2): the solution of one flow changes the data term of others by a linear map.

    ℓ_s = d_s + Σ_{r<s} L_rs v_r,   v_s = solution at T_s of the flow linearized at ℓ_s with weights Ω_s

Flows may differ in their weights, their graphs and the number of their labels. With g_s the derivative of the loss in
v_s alone, the adjoints run backwards: μ_s = g_s + Σ_{t>s} L_stᵀ ∂ℓ_t(μ_t), and each flow has its closed-form gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..averaging.base import check_field
from ..averaging.grid import as_averaging
from ..backend.array import contiguous, like, namespace, reused
from ..fields import field_shape, pixel_shape
from ..integrators.base import Integrator, Solution, check_time
from ..integrators.taylor import Taylor
from .couplings import Coupling, LabelMap, check_adjoint
from .gradient import weight_gradient
from .linear import LinearFlow, derivative_like

__all__ = ["CoupledFlow", "CoupledGradient", "CoupledSolution"]


class CoupledSolution(NamedTuple):
    """Forward pass of coupled flows: two fields per flow, and the basis of the last one."""

    #: v_s of each flow, (H, J_s, W); W_s = softmax(v_s).
    v: list[Any]
    #: ℓ_s of each flow, (H, J_s, W): its own data and what other flows add.
    log_likelihoods: list[Any]
    #: The last flow and its solution, with the basis.
    last: tuple[LinearFlow, Solution]


class CoupledGradient(NamedTuple):
    """Derivatives of a loss in the weights and data of every flow, and in the matrix of every LabelMap."""

    #: ∂Ω_s of each flow, (H, N, W); zeros where the loss does not depend on it.
    weights: list[Any]
    #: ∂ℓ_s of each flow, (H, J_s, W): the derivative in its own data d_s.
    log_likelihoods: list[Any]
    #: ∂C_rs of each :class:`LabelMap`, (J_s, J_r) float64 on the host.
    couplings: dict[tuple[int, int], Any]


class CoupledFlow:
    """Linearized flows whose solutions change the data of later ones: any set without cycles.

    Parameters
    ----------
    weights : sequence of (H, N, W) arrays
        Weight patches of each flow. A Grid or Graph stands for its weights.
    times : sequence of float
        T_s of each flow.
    couplings : mapping of (r, s) to LabelMap or LinearMap
        L_rs from flow r to flow s, r < s: ``{(0, 1): L}`` is a sequence of two flows, ``{(0, 2): L, (1, 2): M}`` are
        two flows side by side whose solutions enter a third.
    solver : Taylor, Krylov or Euler

    Raises
    ------
    ValueError
        If there is no flow, a time is not positive, the numbers of weights and times differ, or a coupling leads
        backwards or to a flow that is not there.
    TypeError
        If a coupling has no `apply` and `adjoint`.

    Notes
    -----
    Memory: two fields (H, J, W) per flow, the basis of the last one, and for the gradient the basis of one other flow
    at a time, which is solved again. With equal labels, the same data for every flow and the identity between all
    pairs, Σ v_s is the solution of :class:`gpulaf.flows.DeepFlow`.
    """

    def __init__(
        self,
        weights: Sequence[Any],
        times: Sequence[float],
        couplings: Mapping[tuple[int, int], Coupling],
        *,
        solver: Integrator = Taylor(),
    ) -> None:
        self.times = [check_time(time) for time in times]
        if not self.times or len(weights) != len(self.times):
            raise ValueError(
                f"there are {len(weights)} weights and {len(self.times)} times; accepted are as many, one of each for "
                "every flow."
            )
        for (r, s), coupling in couplings.items():
            _check_coupling(r, s, coupling, len(self.times))
        self.couplings = dict(sorted(couplings.items()))
        self.solver = solver
        self.averagings = [as_averaging(x) for x in weights]
        self._tested: set[Any] = set()

    def solve(self, log_likelihoods: Sequence[Any]) -> CoupledSolution:
        """The forward pass.

        Parameters
        ----------
        log_likelihoods : sequence of (H, J_s, W) arrays
            The data d_s of each flow, in the library, on the device and in the dtype of its weights; None for a flow
            that hears other flows only.

        Raises
        ------
        ValueError
            If shapes do not fit, a flow has neither data nor a coupling, or the adjoint of a LinearMap is not one.
        """
        count = len(self.times)
        if len(log_likelihoods) != count:
            raise ValueError(
                f"there are {len(log_likelihoods)} log-likelihoods and {count} flows; accepted are as many. Give None "
                "for a flow without data."
            )
        v: list[Any] = []
        fields: list[Any] = []
        with reused():
            for s in range(count):
                fields.append(self._data(s, log_likelihoods[s], v))
                flow = LinearFlow(self.averagings[s], fields[s])
                solution = self.solver.solve(flow, self.times[s], keep_basis=s + 1 == count)
                v.append(solution.v)
        return CoupledSolution(v, fields, (flow, solution))

    def gradient(self, solution: CoupledSolution, g: Any) -> CoupledGradient:
        """The derivatives of a loss in the weights and data of every flow, and in the matrix of every LabelMap.

        Parameters
        ----------
        solution : CoupledSolution
            Of these flows.
        g : (H, J, W) array, or sequence of them
            The derivative of the loss in v of the last flow; or those in v_s of each flow, None where it does not
            depend on it.

        Raises
        ------
        ValueError
            If the number or a shape of the derivatives does not fit.
        """
        count = len(self.times)
        if len(solution.v) != count:
            raise ValueError(
                f"the solution has {len(solution.v)} flows, and there are {count}; accepted is a solution of these "
                "flows."
            )
        adjoints = _derivatives(g, solution.v)
        weights: list[Any] = [None] * count
        fields: list[Any] = [None] * count
        couplings: dict[tuple[int, int], Any] = {}
        with reused():
            for s in reversed(range(count)):
                weights[s], fields[s] = self._own_gradient(s, solution, adjoints[s])
                for r, coupling in self._heard(s):
                    if isinstance(coupling, LabelMap):
                        couplings[r, s] = coupling.gradient(fields[s], solution.v[r])
                    back = contiguous(like(coupling.adjoint(fields[s]), solution.v[r]))
                    adjoints[r] = back if adjoints[r] is None else adjoints[r] + back
        return CoupledGradient(weights, fields, dict(sorted(couplings.items())))

    def _heard(self, s: int) -> list[tuple[int, Coupling]]:
        """The flows that speak to flow s, and how."""
        return [(r, coupling) for (r, t), coupling in self.couplings.items() if t == s]

    def _data(self, s: int, own: Any, v: Sequence[Any]) -> Any:
        """ℓ_s = d_s + Σ_r L_rs v_r, checked."""
        total, averaging = own, self.averagings[s]
        if own is not None:
            check_field(averaging, own, f"the log-likelihood of flow {s}")
        for r, coupling in self._heard(s):
            name = f"the coupling ({r}, {s})"
            if isinstance(coupling, LabelMap) and coupling.matrix.shape[1] != v[r].shape[-2]:
                raise ValueError(
                    f"{name} has a matrix of shape {coupling.matrix.shape}, and flow {r} has {v[r].shape[-2]} labels; "
                    "accepted is a column for each of them. Transpose it, or check the labels."
                )
            term = contiguous(like(coupling.apply(v[r]), v[r]))
            batch = pixel_shape(v[r])[: -self.averagings[r].axes]
            pixels = (*batch, *averaging.shape[-averaging.axes :])
            shape = field_shape(pixels, term.shape[-2]) if total is None else tuple(total.shape)
            if tuple(term.shape) != shape:
                raise ValueError(f"{name} gives shape {tuple(term.shape)}; accepted is {shape}. Check the map.")
            key = (r, s, tuple(v[r].shape), shape, str(term.dtype))
            if not isinstance(coupling, LabelMap) and key not in self._tested:
                check_adjoint(coupling, v[r], term, name)
                self._tested.add(key)
            total = term if total is None else total + term
        if total is None:
            raise ValueError(f"flow {s} has neither data nor a coupling. Give its log-likelihood.")
        check_field(averaging, total, f"the log-likelihood of flow {s}")
        return total

    def _own_gradient(self, s: int, solution: CoupledSolution, adjoint: Any) -> tuple[Any, Any]:
        """∂Ω_s and ∂ℓ_s from the derivative in v_s; zeros if it is None."""
        if adjoint is None:
            return tuple(namespace(x).zeros_like(x) for x in (self.averagings[s].weights, solution.v[s]))
        if s + 1 == len(self.times):
            flow, layer = solution.last
        else:
            flow = LinearFlow(self.averagings[s], solution.log_likelihoods[s])
            layer = self.solver.solve(flow, self.times[s])
        found = weight_gradient(flow, layer, adjoint)
        return found.weights, found.log_likelihood


def _derivatives(g: Any, v: Sequence[Any]) -> list[Any]:
    """The derivative of the loss in every v_s, or None."""
    derivatives = list(g) if isinstance(g, (list, tuple)) else [None] * (len(v) - 1) + [g]
    if len(derivatives) != len(v):
        raise ValueError(
            f"there are {len(derivatives)} derivatives and {len(v)} flows; accepted are as many, or one array for the "
            "last flow. Give None where the loss does not depend on a solution."
        )
    pairs = enumerate(zip(derivatives, v, strict=True))
    return [None if x is None else derivative_like(x, field, f"g of flow {s}") for s, (x, field) in pairs]


def _check_coupling(r: int, s: int, coupling: Any, count: int) -> None:
    if not 0 <= r < s < count:
        raise ValueError(
            f"a coupling leads from flow {r} to flow {s}; accepted are (r, s) with 0 ≤ r < s < {count}. Number the "
            "flows so that each comes after those that it hears."
        )
    if not isinstance(coupling, Coupling):
        raise TypeError(
            f"the coupling ({r}, {s}) is a {type(coupling).__name__}; accepted are LabelMap(matrix) and "
            "LinearMap(apply, adjoint). Wrap it in one of them."
        )
