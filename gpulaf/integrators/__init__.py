"""Time integrators of the linearized flow; each carries its forward solution over to the gradient.

An integrator has ``solve(flow, time)`` and ``sensitivity(flow, solution, g)``: the basis that carried the forward
solution is the basis of the gradient, so nothing is computed twice.
"""

from .base import Sensitivity, Solution
from .euler import Euler
from .krylov import Krylov
from .taylor import Taylor

__all__ = ["Euler", "Krylov", "Sensitivity", "Solution", "Taylor"]
