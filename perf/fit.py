"""How long do 50 learning steps take on a 512×512 image with 10 labels?

The field's published figure is under 10 seconds for an image of that size (Zeilmann, Petra, Schnörr, SSVM 2021). Noisy
blocks, float32, T = 3, Riemannian gradient descent; by exact gradients of Taylor series and by Krylov spaces.
"""

from __future__ import annotations

import numpy as np
from measure import command, problem, put, save

from gpulaf import Krylov, RiemannianGradient, Taylor, fit_weights
from gpulaf.learning import FitOptions

METHODS = {
    "Taylor 1e-3, exact": (Taylor(tol=1e-3), None),
    "Taylor 1e-4, exact": (Taylor(tol=1e-4), None),
    "Krylov 5, rank 1": (Krylov(5), 1),
}


def main() -> None:
    asked = command(__doc__, gpu=True, side=(512, 48), labels=(10, 3), steps=(50, 3))
    l, truth = put(*problem(asked.labels, asked.side)[1:])
    rows = []
    for name, (solver, rank) in METHODS.items():
        how = {"solver": solver, "descent": RiemannianGradient(1.0), "options": FitOptions(rank=rank, progress=False)}
        fit_weights(l[:32, :, :32], truth[:32, :32], steps=2, **how)  # compiles
        history = fit_weights(l, truth, steps=asked.steps, **how).history
        assert np.isfinite(history[-1].loss)
        before, after = (100 * history[k].wrong for k in (0, -1))
        rows.append({"gradient": name, "s": history[-1].seconds, "% wrong before": before, "% wrong after": after})
    best = min(rows, key=lambda row: row["s"])
    size = f"{asked.side}² pixels with {asked.labels} labels"
    save(rows, f"{asked.steps} steps at {size} take {best['s']:.1f} s with {best['gradient']}.")


if __name__ == "__main__":
    main()
