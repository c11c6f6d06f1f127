"""How long do 50 learning steps take on a 512×512 image with 10 labels?

    python perf/fit.py [--side 512] [--labels 10] [--gpu]

The field's published figure is under 10 seconds for an image of that size (Zeilmann, Petra, Schnörr, SSVM 2021).
"""

from __future__ import annotations

import sys

import numpy as np
from autodiff import problem
from measure import put, save

from gpulaf import Krylov, RiemannianGradient, Taylor, fit_weights


def main() -> None:
    side = int(sys.argv[sys.argv.index("--side") + 1]) if "--side" in sys.argv else 512
    labels = int(sys.argv[sys.argv.index("--labels") + 1]) if "--labels" in sys.argv else 10
    l, truth = put(*problem(labels, side)[1:])
    rows = []
    for name, options in {
        "Taylor 1e-3, exact": {"integrator": Taylor(tol=1e-3)},
        "Taylor 1e-4, exact": {"integrator": Taylor(tol=1e-4)},
        "Krylov 5, rank 1": {"integrator": Krylov(5), "rank": 1},
    }.items():
        fit_weights(l[:, :32, :32], truth[:32, :32], steps=2, progress=False, **options)  # compiles
        result = fit_weights(l, truth, steps=50, descent=RiemannianGradient(1.0), progress=False, **options)
        first, last = result.history[0], result.history[-1]
        rows.append({"gradient": name, "s": last.seconds, "% wrong before": first.wrong, "% wrong after": last.wrong})
        assert np.isfinite(last.loss)
    best = min(rows, key=lambda row: row["s"])
    save("fit", rows, f"50 steps at ({labels}, {side}, {side}) take {best['s']:.1f} s with {best['gradient']}.")


if __name__ == "__main__":
    main()
