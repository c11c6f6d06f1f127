"""Networks of linearized flows (5.2)–(5.3): V' = 𝒜V + ℬ, solved by one exponential, with gradients in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..averaging.base import check_field
from ..averaging.grid import as_averaging
from ..backend.array import host_array, like, namespace, reused
from ..backend.products import label_pairing
from ..fields import field_shape, pixel_shape
from ..integrators.base import Integrator, Solution, check_integrator, check_time
from ..integrators.taylor import Taylor
from .joint import JointFlow, Rest, blocks, parted
from .linear import LinearFlow, derivative_like

__all__ = ["FlowNetwork", "NetworkGradient", "NetworkSolution"]


class NetworkSolution(NamedTuple):
    """Forward pass of a network: v_s of each flow, and of each exponential its system and solution."""

    #: v_s of each flow, (H, J_s, W); W_s = softmax(v_s).
    v: list[Any]
    #: One for every number in `order`.
    systems: list[tuple[JointFlow, Solution]]


class NetworkGradient(NamedTuple):
    """Derivatives of a loss in everything that a network is made of."""

    #: ∂Ω_s of each flow, (H, N, W).
    weights: list[Any]
    #: ∂ℓ_s of each flow, (H, J_s, W).
    log_likelihoods: list[Any]
    #: ∂L_sr by (r, s), (J_s, J_r) float64 on the host.
    couplings: dict[tuple[int, int], np.ndarray]
    #: ∂C_sr by (r, s), of those that were given.
    mixing: dict[tuple[int, int], np.ndarray]


class FlowNetwork:
    """Linearized flows that speak to one another while they run, in any direction.

        v_s' = B_s + R_{S_s} Ω_s Σ_r C_sr v_r + Σ_r L_sr v_r,   v_s(0) = 0,   S_s = softmax(Ω_s ℓ_s),   B_s = Π₀S_s

    In the flow alone, C_ss = I and L = 0. A source of a flow is a tangent vector, and so must be what a coupling adds
    to it: L stands for Π₀ L Π₀ at every pixel. It leaves A_s and B_s as they are, so that V = (v_s)_s is the solution
    of one linear system, V = φ(𝒜)ℬ with the times in 𝒜 and ℬ, and superposition holds. The second kind of coupling
    acts on what is averaged: linearizing v_s' = Π₀ softmax(Ω_s(ℓ_s + Σ_r C_sr v_r)) at 0 gives R_{S_s} Ω_s C_sr.
    R_S kills constants over labels, so this kind needs no projection. C_ss couples the labels of one flow,
    A = R_S(Ω ⊗ C): label k of the neighbors supports label j by C_jk.

    Parameters
    ----------
    weights : sequence of (H, N, W) arrays
        Weight patches of each flow, on the same pixels; radii may differ. A Grid or Graph stands for its weights.
    times : float or sequence of float
        T_s of each flow; flows that run together start and end together, each at its own rate.
    couplings : mapping of (r, s) to (J_s, J_r) array
        L_sr from flow r to flow s: {(0, 1): L, (1, 0): M} is feedback, {(0, 0): L} of a flow to itself.
    mixing : mapping of (r, s) to (J_s, J_r) array, optional
        C_sr; C_ss = I where it is not given.
    order : sequence of int, optional
        Flows of one number run together (5.3), after those of smaller numbers, whose v_r are constant sources then:
        (0, 1) is the composition (5.2), v₁ = T₁ φ(T₁A₁)(B₁ + L v₀). None: all run together.
    solver : Taylor, Krylov or Euler

    Raises
    ------
    ValueError, TypeError
        If the numbers of weights and times differ, a time is not positive, or a matrix is not one of real numbers,
        leads to a flow that is not there or to one that is over.

    Notes
    -----
    Degree: ‖𝒜‖_∞ ≤ max_s T_s (‖C_s·‖_∞/2 + Σ_r ‖L_sr‖_∞), which is T/2 of a single flow, whatever the image, so tiles
    with a halo of ``solver.reach(system.time)`` patch radii, summed over the systems of a solution, equal the whole bit
    for bit. Memory: the basis of every exponential.

    Gradient: with M = ∫ μVᵀ in blocks and m̄ = ∫ μ, ∂L_sr = Π₀ Σ_i M_sr(i, i) Π₀; ∂Ω_s and ∂ℓ_s are those of Theorem 3.8
    for the splitting of ∫ μ_s (Σ_r C_sr v_r)ᵀ; ∂C_sr = Σ_i N_sr(i, i) with N_sr = Ω_sᵀ R_{S_s} M_sr. Of a Taylor
    solution this is the exact derivative of the truncated series.
    """

    def __init__(
        self,
        weights: Sequence[Any],
        times: float | Sequence[float],
        couplings: Mapping[tuple[int, int], Any],
        *,
        mixing: Mapping[tuple[int, int], Any] | None = None,
        order: Sequence[int] | None = None,
        solver: Integrator = Taylor(),
    ) -> None:
        check_integrator(solver, "A network is one of linearized flows.")
        self.averagings = [as_averaging(x) for x in weights]
        count = len(self.averagings)
        self.times = [check_time(t) for t in (times if isinstance(times, Sequence) else [times] * count)]
        self.order = [0] * count if order is None else [int(n) for n in order]
        if not count or len(self.times) != count or len(self.order) != count:
            raise ValueError(
                f"there are {count} weights, {len(self.times)} times and {len(self.order)} numbers in order; accepted "
                "are as many, one of each for every flow."
            )
        self.couplings = {edge: _projected(_matrix(L, edge, self.order)) for edge, L in couplings.items()}
        self.mixing = {edge: _matrix(C, edge, self.order) for edge, C in (mixing or {}).items()}
        self.solver = solver

    def solve(self, log_likelihoods: Sequence[Any], *, keep_basis: bool = True) -> NetworkSolution:
        """The forward pass.

        Parameters
        ----------
        log_likelihoods : sequence of (H, J_s, W) arrays
            ℓ_s of each flow, in the library, on the device and in the dtype of its weights; None for a flow that hears
            other flows only.
        keep_basis : bool
            Keep what the gradient needs.

        Raises
        ------
        ValueError
            If shapes do not fit, or a flow has neither data nor a coupling.
        """
        fields = self._fields(log_likelihoods)
        v: list[Any] = [None] * len(fields)
        systems = []
        with reused():
            for members in self._groups():
                system = self._system(members, fields, v)
                solution = self.solver.solve(system, system.time, keep_basis=keep_basis)
                systems.append((system, solution))
                for s, part in zip(members, system.split(solution.v), strict=True):
                    v[s] = part
        return NetworkSolution(v, systems)

    def gradient(self, solution: NetworkSolution, g: Any) -> NetworkGradient:
        """The derivatives of a loss in weights, data and matrices.

        Parameters
        ----------
        solution : NetworkSolution
            Of this network.
        g : (H, J, W) array, or sequence of them
            The derivative of the loss in v of the last flow; or those in v_s of each flow, None where it does not
            depend on it.

        Raises
        ------
        ValueError
            If the number or a shape of the derivatives does not fit.
        """
        adjoints = _derivatives(g, solution.v)
        counts = {s: v.shape[-2] for s, v in enumerate(solution.v)}
        xp = namespace(solution.v[0])
        weights: list[Any] = [None] * len(counts)
        fields: list[Any] = [None] * len(counts)
        found: list[dict[tuple[int, int], np.ndarray]] = [{}, {}]
        with reused():
            for members, (system, layer) in zip(reversed(self._groups()), reversed(solution.systems), strict=True):
                above = xp.concat([adjoints[s] for s in members], axis=-2)
                mean, left, right, _, _ = self.solver.sensitivity(system, layer, above)
                inner = {s: counts[s] for s in members}
                self._collect(found, system, (left, right, system.rates), inner, inner)
                right = system.mixed(right)
                mean = mean * like(system.rates, mean)  # the derivative in what is added to every B_s
                if system.rest is not None:
                    earlier = {r: counts[r] for r in counts if self.order[r] < self.order[members[0]]}
                    self._collect(found, system, (mean[None, ...], system.rest.field[None, ...], 1.0), inner, earlier)
                    left = xp.concat([left, mean[None, ...]])
                    right = xp.concat([right, system.rest.mixed[None, ...]])
                    back, place = system.rest.adjoint(mean, system.averaged_adjoint(mean)), 0
                    for r, count in earlier.items():
                        adjoints[r] = adjoints[r] + back[..., place : place + count, :]
                        place += count
                terms = zip(members, system.flows, *map(system.split, (mean, left, right)), strict=True)
                for s, flow, m, u, v in terms:
                    weights[s], z = flow.derivative(m, u, v)
                    fields[s] = flow.log_likelihood_derivative(z)
        couplings = {edge: _projected(found[0][edge]) for edge in self.couplings}
        return NetworkGradient(weights, fields, couplings, {edge: found[1][edge] for edge in self.mixing})

    def _groups(self) -> list[list[int]]:
        """The flows that run together, in the order of time."""
        return [[s for s, n in enumerate(self.order) if n == now] for now in sorted(set(self.order))]

    def _fields(self, log_likelihoods: Sequence[Any]) -> list[Any]:
        """ℓ_s of every flow, checked; 0 where there is none."""
        if len(log_likelihoods) != len(self.times):
            raise ValueError(
                f"there are {len(log_likelihoods)} log-likelihoods and {len(self.times)} flows; accepted are as many. "
                "Give None for a flow without data."
            )
        labels = {r: M.shape[1] for (r, _), M in self._matrices()} | {s: M.shape[0] for (_, s), M in self._matrices()}
        given: Any = next((x for x in log_likelihoods if x is not None), None)
        fields = []
        for s, (averaging, field) in enumerate(zip(self.averagings, log_likelihoods, strict=True)):
            if field is None and (given is None or s not in labels):
                raise ValueError(f"flow {s} has neither data nor a coupling. Give its log-likelihood.")
            if field is None:
                shape = field_shape(pixel_shape(given), labels[s])
                field = namespace(given).zeros(shape, dtype=given.dtype)
            check_field(averaging, field, f"the log-likelihood of flow {s}")
            if given is not None and pixel_shape(field) != pixel_shape(given):
                raise ValueError(
                    f"flow {s} has pixels {pixel_shape(field)} and another one {pixel_shape(given)}; accepted are the "
                    "same for all flows. Resample one of them."
                )
            fields.append(field)
        for (r, s), M in self._matrices():
            shape = fields[s].shape[-2], fields[r].shape[-2]
            if M.shape != shape:
                raise ValueError(
                    f"the matrix ({r}, {s}) has shape {M.shape}; accepted is {shape}, a row "
                    f"for each label of flow {s} and a column for each one of flow {r}."
                )
        return fields

    def _matrices(self) -> list[tuple[tuple[int, int], np.ndarray]]:
        return [*self.couplings.items(), *self.mixing.items()]

    def _system(self, members: list[int], fields: list[Any], v: list[Any]) -> JointFlow:
        """The system of the flows that run together, those that have run at rest."""
        flows = [LinearFlow(self.averagings[s], fields[s]) for s in members]
        rows = {s: fields[s].shape[-2] for s in members}
        mixing = {(s, s): np.eye(J) for s, J in rows.items()} | self.mixing
        rest, over = None, {r: x.shape[-2] for r, x in enumerate(v) if x is not None}
        if over:
            field = namespace(fields[0]).concat([v[r] for r in over], axis=-2)
            rest = Rest(blocks(mixing, rows, over), blocks(self.couplings, rows, over), field)
        times = [self.times[s] for s in members]
        return JointFlow(flows, times, blocks(mixing, rows, rows), blocks(self.couplings, rows, rows), rest)

    def _collect(
        self,
        found: list[dict[tuple[int, int], np.ndarray]],
        system: JointFlow,
        terms: tuple[Any, Any, Any],
        rows: dict[int, int],
        columns: dict[int, int],
    ) -> None:
        """Add the derivatives in the matrices from `columns` to `rows`: those of L to found[0], of C to found[1]."""
        left, right, rates = terms
        kinds = [(found[0], left)] if self.couplings else []
        if self.mixing:
            kinds.append(
                (
                    found[1],
                    namespace(left).stack(
                        [system.averaged_adjoint(u) for u in (left[i, ...] for i in range(left.shape[0]))]
                    ),
                )
            )
        for one, u in kinds:
            one |= parted(rates * label_pairing(u, right), rows, columns)


def _derivatives(g: Any, v: Sequence[Any]) -> list[Any]:
    """The derivative of the loss in every v_s, 0 where there is none."""
    derivatives = list(g) if isinstance(g, (list, tuple)) else [None] * (len(v) - 1) + [g]
    if len(derivatives) != len(v):
        raise ValueError(
            f"there are {len(derivatives)} derivatives and {len(v)} flows; accepted are as many, or one array for the "
            "last flow. Give None where the loss does not depend on a solution."
        )
    pairs = enumerate(zip(derivatives, v, strict=True))
    zeros = namespace(v[0]).zeros_like
    return [zeros(field) if x is None else derivative_like(x, field, f"g of flow {s}") for s, (x, field) in pairs]


def _matrix(matrix: Any, edge: tuple[int, int], order: Sequence[int]) -> np.ndarray:
    """A matrix from flow r to flow s in float64 on the host, checked."""
    r, s = edge
    if not (0 <= r < len(order) and 0 <= s < len(order)):
        raise ValueError(f"a matrix leads from flow {r} to flow {s}; accepted are flows 0 to {len(order) - 1}.")
    if order[r] > order[s]:
        raise ValueError(
            f"a matrix leads from flow {r} to flow {s}, which is over by then; accepted are those to flows of the same "
            f"or a later place than {order[r]}. Let them run together for feedback."
        )
    matrix = host_array(matrix)
    if matrix.dtype.kind not in "buif" or matrix.ndim != 2 or 0 in matrix.shape or not np.isfinite(matrix).all():
        raise ValueError(
            f"the matrix {edge} has shape {matrix.shape} and dtype {matrix.dtype}; accepted is (J_s, J_r) of finite "
            "real numbers. np.eye(J) passes labels on."
        )
    return matrix.astype(np.float64)


def _projected(matrix: np.ndarray) -> np.ndarray:
    """Π₀ L Π₀: from and to tangent vectors."""
    matrix = matrix - matrix.mean(axis=0)
    return matrix - matrix.mean(axis=1, keepdims=True)
