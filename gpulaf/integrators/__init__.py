"""Time integrators of the linearized flow, and schemes of the nonlinear one.

An integrator has ``solve(flow, time)`` and ``sensitivity(flow, solution, g)``, the splitting from which the gradient is
made: `taylor`, `krylov` on a Krylov space (`krylov_space`, `phi`), `euler`; what they share is in `base`. A scheme has
``step(flow, v, length)`` (`nonlinear`). Imports backend alone.
"""

from .base import Integrator, Sensitivity, Solution, layer_times
from .euler import Euler
from .krylov import Krylov
from .nonlinear import DormandPrince, GeometricEuler, LinearizedFlows, Scheme
from .taylor import Taylor

__all__ = [
    "DormandPrince", "Euler", "GeometricEuler", "Integrator", "Krylov", "LinearizedFlows", "Scheme", "Sensitivity",
    "Solution", "Taylor", "layer_times",
]  # fmt: skip
