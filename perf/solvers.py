"""How much faster is the forward solve v(T) = T φ(TA) B than general solvers, and at which accuracy?

SciPy solves the same flow in float64, twice: with A as one CSR matrix, and with its two factors, v → R_S(Ωv) with Ω in
CSR and R_S in NumPy, several times cheaper per product. Its unknowns hold the same numbers with the labels last, which
suits CSR best. `expm_multiply` takes the bordered matrix [[TA, cTB], [0, 0]] with ‖cTB‖₁ = 1: it plans with 1-norms,
and a unit 2-norm made it thirty times slower with CSR. It has no tolerance but stops relative to the largest entry, the
border's, so a smaller c ("early") saves some products. Assembly, S, B and the trace are given to all. SciPy's products
run on one thread, so ours is also measured on one. The error is the larger of the relative errors in the 2-norm and in
the maximum norm, against a series to rounding in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sparse
from gpulaf.kernels.stencil import offsets
from measure import Rows, command, interleaved, one_thread, problem, save
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.sparse.linalg import LinearOperator, expm_multiply, funm_multiply_krylov

from gpulaf import Euler, Grid, Krylov, Taylor
from gpulaf.fields import from_rows
from gpulaf.flows import LinearFlow
from gpulaf.plots.style import ALARM, canvas, plain

TIME = 3.0
#: What the answer asks for.
ACCURACY = 1e-4
#: Marker and color of a solver, and where its name stands: beside its most accurate point.
MARKS = {
    "Taylor": ("o", "#16325C", (-8, -3), "right"), "Krylov": ("s", "#4477AA", (-8, -3), "right"),
    "Euler": ("^", "#7FB2E5", (0, 7), "center"), "expm_multiply": ("D", ALARM, (-30, -3), "right"),
    "funm_multiply_krylov": ("s", ALARM, (8, -3), "left"), "RK45": ("^", ALARM, (8, -3), "left"),
    "DOP853": ("v", ALARM, (8, -3), "left"),
}  # fmt: skip


class System(NamedTuple):
    """A as SciPy takes it, and the bordered matrix of `expm_multiply` for a factor c of TB."""

    A: Any
    bordered: Callable[[float], Any]


def flat(field: np.ndarray) -> np.ndarray:
    """(H, J, W) to (H·W·J,), labels last."""
    return from_rows(field).ravel()


def averages(weights: np.ndarray) -> sparse.csr_array:
    """Ω on the pixels of one label, (H·W, H·W) in CSR, from weights (H, 9, W)."""
    height, _, width = weights.shape
    index = np.pad(np.arange(height * width, dtype=np.int32).reshape(height, width), 1)
    columns = [index[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in offsets(1)]
    start = 9 * np.arange(height * width + 1, dtype=np.int32)
    data = (flat(weights), np.stack(columns, axis=-1).ravel(), start)
    omega = sparse.csr_array(data, shape=2 * (height * width,))
    omega.eliminate_zeros()
    return omega


def assembled(S: np.ndarray, omega: sparse.csr_array, B: np.ndarray) -> System:
    """A = R_S (Ω ⊗ I) as one CSR matrix."""
    pixels, labels = S.shape
    blocks = S[:, :, None] * (np.eye(labels) - S[:, None, :])
    count = np.arange(pixels + 1, dtype=np.int32)
    A = sparse.bsr_array((blocks, count[:-1], count)).tocsr() @ sparse.kron(omega, sparse.eye_array(labels), "csr")
    A = sparse.csr_array((A.data, A.indices.astype(np.int32), A.indptr.astype(np.int32)), shape=A.shape)
    A.sort_indices()

    def bordered(c: float) -> Any:
        column, corner = sparse.csr_array(c * TIME * B[:, None]), sparse.csr_array((1, 1))
        return sparse.block_array([[TIME * A, column], [None, corner]], format="csr")

    return System(A, bordered)


def factored(S: np.ndarray, omega: sparse.csr_array, B: np.ndarray) -> System:
    """A by its factors, with its adjoint Ωᵀ R_S, which `expm_multiply` needs for its norms."""
    transposed = omega.T.tocsr()

    def replicate(x: np.ndarray) -> np.ndarray:
        x = S * x
        x -= S * x.sum(axis=1, keepdims=True)
        return x

    def product(v: np.ndarray) -> np.ndarray:
        return replicate(omega @ v.reshape(S.shape)).ravel()

    def adjoint(u: np.ndarray) -> np.ndarray:
        return (transposed @ replicate(u.reshape(S.shape))).ravel()

    def bordered(c: float) -> LinearOperator:
        def forward(x: np.ndarray) -> np.ndarray:
            return TIME * np.append(product(x.ravel()[:-1]) + c * x.ravel()[-1] * B, 0)

        def backward(y: np.ndarray) -> np.ndarray:
            return TIME * np.append(adjoint(y.ravel()[:-1]), c * (B @ y.ravel()[:-1]))

        return LinearOperator(2 * (S.size + 1,), matvec=forward, rmatvec=backward, dtype=float)

    return System(LinearOperator(2 * (S.size,), matvec=product, rmatvec=adjoint, dtype=float), bordered)


def check(flow: LinearFlow, matrix: Any, factors: Any) -> None:
    """Both forms of A, and the adjoint of the factors, give what the flow gives, to rounding."""
    v = np.random.default_rng(1).standard_normal(flow.B.shape)
    Av, Atv = flat(flow.A(v)), flat(flow.At(v))
    for found, expected in ((matrix @ flat(v), Av), (factors @ flat(v), Av), (factors.rmatvec(flat(v)), Atv)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * abs(expected).max())


def phi_column(H: np.ndarray) -> np.ndarray:
    """T φ(H) e₁ through the bordered matrix (2.29): the only column that `funm_multiply_krylov` reads."""
    bordered = np.zeros((len(H) + 1, len(H) + 1))
    bordered[:-1, :-1], bordered[0, -1] = H, 1
    return TIME * expm(bordered)[:-1, -1:]


def general(system: System, B: np.ndarray, trace: float) -> dict[str, Callable[[], np.ndarray]]:
    """SciPy's solvers by name."""
    A, unit, last = system.A, 1 / np.linalg.norm(TIME * B, 1), np.append(np.zeros(B.size), 1.0)

    def exponential(c: float) -> Callable[[], np.ndarray]:
        M = system.bordered(c)
        return lambda: expm_multiply(M, last, traceA=trace)[:-1] / c

    def krylov(m: int, cycles: int) -> Callable[[], np.ndarray]:
        options = {"t": TIME, "restart_every_m": m, "max_restarts": cycles}
        return lambda: funm_multiply_krylov(phi_column, A, B, **options)

    def steps(method: str, tol: float) -> Callable[[], np.ndarray]:
        options = {"method": method, "t_eval": [TIME], "rtol": tol, "atol": tol}
        return lambda: solve_ivp(lambda _, v: A @ v + B, (0, TIME), np.zeros(B.size), **options).y[:, -1]

    return {
        "expm_multiply": exponential(unit), "expm_multiply early": exponential(1e-9 * unit),
        **{f"funm_multiply_krylov {m}": krylov(m, 1) for m in (3, 4, 5, 6, 8, 10)},
        "funm_multiply_krylov 1e-6": krylov(5, 20),
        **{f"RK45 {tol:.0e}": steps("RK45", tol) for tol in (1e-2, 1e-6, 1e-9)},
        **{f"DOP853 {tol:.0e}": steps("DOP853", tol) for tol in (1e-2, 1e-10)},
    }  # fmt: skip


def ours(flow: LinearFlow) -> dict[str, Callable[[], np.ndarray]]:
    """Our solvers by name."""
    solvers = {
        **{f"Euler {steps}": Euler(steps) for steps in (3, 10, 30, 100)},
        **{f"Taylor {d}": Taylor(d) for d in (2, 3, 4, 5, 6, 8, 10, 13, 16)},
        **{f"Taylor tol {tol:.0e}": Taylor(tol=tol) for tol in (1e-2, 1e-4, 1e-6)},
        **{f"Krylov {m}": Krylov(m) for m in (2, 3, 4, 5, 6, 8, 10)},
        **{f"Krylov tol {tol:.0e}": Krylov(tol=tol) for tol in (1e-2, 1e-4, 1e-6)},
    }
    return {name: lambda s=s: s.solve(flow, TIME, keep_basis=False).v for name, s in solvers.items()}


def alone(call: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """The call with our kernels on one thread."""

    def on_one_thread() -> np.ndarray:
        with one_thread():
            return call()

    return on_one_thread


def measure(labels: int, side: int, repeats: int) -> Rows:
    weights, l, _ = problem(labels, side)
    wide, narrow = LinearFlow(Grid(weights.astype(float)), l.astype(float)), LinearFlow(Grid(weights), l)
    B, S, omega = flat(wide.B), flat(wide.S).reshape(-1, labels), averages(weights.astype(float))
    matrix, factors = (form(S, omega, B) for form in (assembled, factored))
    check(wide, matrix.A, factors.A)
    trace = TIME * matrix.A.trace()
    calls = {
        "ours": ours(wide), "ours, 1 thread": {name: alone(call) for name, call in ours(wide).items()},
        "ours, float32": ours(narrow),
        "CSR": general(matrix, B, trace), "factors": general(factors, B, trace),
    }  # fmt: skip
    every = {(form, name): call for form, solvers in calls.items() for name, call in solvers.items()}
    times = interleaved(every, repeats=repeats, settled=True)
    exact = flat(Taylor(tol=1e-13).solve(wide, TIME, keep_basis=False).v)
    table = []
    for (form, name), call in every.items():
        v = call()
        error = (v if v.ndim == 1 else flat(v)) - exact
        two, largest = np.linalg.norm(error) / np.linalg.norm(exact), abs(error).max() / abs(exact).max()
        row = {"form": form, "solver": name, "ms": 1e3 * times[form, name], "error 2": two, "error max": largest}
        table.append({**row, "error": max(two, largest)})
    return table


def fastest(table: Rows, form: str, solver: str = "", accuracy: float = ACCURACY) -> dict[str, Any]:
    """The fastest row of a form, and of solvers that begin so, whose error is at most `accuracy`."""
    kept = (r for r in table if r["form"] == form and r["solver"].startswith(solver) and r["error"] <= accuracy)
    return min(kept, key=lambda r: r["ms"])


def answer(table: Rows) -> str:
    mine, single = fastest(table, "ours"), fastest(table, "ours, 1 thread")
    claims = []
    for form in ("CSR", "factors"):
        other, best = fastest(table, form, "expm_multiply"), fastest(table, form)
        claims.append(
            f"with {form} that is {other['ms'] / mine['ms']:.0f} × faster than {other['solver']} (error "
            f"{other['error']:.0e}) and {best['ms'] / mine['ms']:.1f} × faster than SciPy's fastest, {best['solver']}"
        )
    tight = 1e-11
    mine_tight, other = fastest(table, "ours", accuracy=tight), fastest(table, "factors", "expm_multiply", tight)
    return (
        f"at error ≤ {ACCURACY:.0e} the fastest of ours ({mine['solver']}) takes {mine['ms']:.1f} ms, on one thread "
        f"{single['ms']:.1f} ms; {'; '.join(claims)}; at error ≤ {tight:.0e} {mine_tight['solver']} takes "
        f"{mine_tight['ms']:.1f} ms, {other['ms'] / mine_tight['ms']:.0f} × faster than expm_multiply with factors."
    )


def main() -> None:
    asked = command(__doc__, side=(256, 12), labels=(8, 3), repeats=(5, 1))
    table = measure(asked.labels, asked.side, asked.repeats)
    size = f"{asked.side}² pixels with {asked.labels} labels"
    save(table, f"v(T) at {size}, T = {TIME:g}, float64: {answer(table)}", figure)


def figure(table: Rows) -> Any:
    plot, ((axis,),) = canvas(1, 1, width=9, height=6)
    for form, filled in {"ours": True, "ours, float32": False, "CSR": True, "factors": False}.items():
        for solver, (marker, color, offset, side) in MARKS.items():
            kept = [r for r in table if r["form"] == form and r["solver"].split()[0] == solver]
            curve = [(r["ms"], r["error"]) for r in kept if "tol" not in r["solver"]]
            if not curve:
                continue
            line, face = ("-", color) if filled else (":", "white")
            axis.plot(*zip(*curve, strict=True), line, marker=marker, ms=5, lw=1.2, color=color, mfc=face)
            if filled:
                text = {"textcoords": "offset points", "ha": side, "color": color, "fontsize": 9}
                axis.annotate(solver, min(curve, key=lambda at: at[1]), xytext=offset, **text)
    axis.axhline(ACCURACY, color="#BBBBBB", lw=0.8, zorder=0)
    title = "blue: ours, open: float32; red: SciPy, filled: one CSR matrix, open: its factors"
    plain(axis, title, "ms for v(T)", "relative error of v(T)")
    axis.set(xscale="log", yscale="log")
    axis.margins(x=0.14)
    return plot


if __name__ == "__main__":
    main()
