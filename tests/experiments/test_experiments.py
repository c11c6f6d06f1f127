"""The experiments: their baselines and helpers against oracles, their findings on numbers that say yes and no."""

from __future__ import annotations

import csv
import re
import sys
import time

import numpy as np
import pytest
from commands import run_here
from oracles import random_problem, relative, tol

from gpulaf import (
    Euler,
    Krylov,
    RiemannianAdam,
    RiemannianGradient,
    Taylor,
    cosine_loss,
    fit_weights,
    label,
    uniform_weights,
)
from gpulaf.averaging.grid import Grid
from gpulaf.experiments import (
    EXPERIMENTS,
    Setting,
    depth,
    fig1,
    fig2,
    fig3,
    fig4,
    fig5,
    learning,
    missing,
    neighborhoods,
    reproduce,
    space,
    subspace,
    unseen,
)
from gpulaf.experiments.kronecker import dense_derivative, dense_operator
from gpulaf.flows import LinearFlow, exact_gradient, weight_gradient
from gpulaf.learning import FitOptions
from gpulaf.learning.problem import ClosedForm
from gpulaf.scenes import voronoi_colors, voronoi_lines

TIME = 3.0


def autodiff(solver, weights, likelihood, truth):
    pytest.importorskip("torch", reason="PyTorch is not installed: there is no automatic differentiation to compare")
    from gpulaf.experiments.autodiff import derivative

    return derivative(solver, weights, likelihood, truth, TIME)


def labeled_problem(labels=3, height=5, width=6, seed=0, dtype=np.float64):
    """Weights, log-likelihood and truth without unlabeled pixels."""
    problem = random_problem(labels, height, width, seed=seed)
    return problem.weights.astype(dtype), problem.log_likelihood.astype(dtype), np.maximum(problem.truth, 0)


def ours(solver, weights, likelihood, truth, **options):
    from gpulaf.experiments.autodiff import Derivative

    flow = LinearFlow(Grid(weights), likelihood)
    solution = solver.solve(flow, TIME)
    value, g = cosine_loss(solution.v, truth)
    return Derivative(value, solution.v, weight_gradient(flow, solution, g, **options).weights)


# --- automatic differentiation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_krylov_at_full_rank_is_the_derivative_of_krylov_where_both_have_converged(seed):
    problem = labeled_problem(seed=seed)
    found, expected = ours(Krylov(14), *problem, rank=14), autodiff(Krylov(14), *problem)
    assert found.loss == pytest.approx(expected.loss, rel=1e-10)
    assert relative(found.weights, expected.weights) < 1e-8


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_euler_adjoint_is_the_derivative_of_euler_to_rounding(dtype, steps):
    problem = labeled_problem(4, 7, 6, dtype=dtype)
    found, expected = ours(Euler(steps), *problem), autodiff(Euler(steps), *problem)
    assert expected.weights.dtype == dtype
    assert relative(found.v, expected.v) < tol(dtype)
    assert relative(found.weights, expected.weights) < tol(dtype)


@pytest.mark.parametrize("solver", [Euler(9), Krylov(3)], ids=str)
def test_autodiff_is_the_slope_of_its_own_loss(solver):
    """Central differences: also where the Krylov space is too small to be the flow."""
    weights, likelihood, truth = labeled_problem(height=3, width=4)
    direction = np.random.default_rng(0).standard_normal(weights.shape) * (weights > 0)
    h = 1e-6
    plus, minus = (autodiff(solver, weights + s * h * direction, likelihood, truth).loss for s in (1, -1))
    slope = (autodiff(solver, weights, likelihood, truth).weights * direction).sum()
    assert slope == pytest.approx((plus - minus) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("solver", [Euler(9), Krylov(6)], ids=str)
def test_the_loss_near_zero_keeps_its_digits_in_single_precision(solver):
    """All but one of many pixels are right: 1 − cos summed in float32 would be noise."""
    pytest.importorskip("torch", reason="PyTorch is not installed: there is no automatic differentiation to compare")
    from gpulaf.experiments.autodiff import autodiff as gradient

    scene = voronoi_colors(96, sites=20)
    single, double = (learning.scene_problem(scene, dtype=t, clean=True) for t in (np.float32, np.float64))
    found = gradient(solver)(single, single.start).loss
    assert found == pytest.approx(gradient(solver)(double, double.start).loss, rel=1e-4)


def test_autodiff_of_a_dimension_that_is_not_given():
    with pytest.raises(ValueError, match="dimension is None; accepted are whole numbers"):
        autodiff(Krylov(), *labeled_problem())


# --- descents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.01])
def test_descents_are_those_of_fit_weights(tau):
    p = learning.scene_problem(voronoi_colors(20, sites=5))
    solver, descent = Taylor(8), RiemannianGradient(0.5)
    found = learning.descend(p, ClosedForm(solver), descent, 4, tau=tau)
    fit = fit_weights(
        p.log_likelihood, p.scene.truth, solver=solver, descent=descent, steps=4, options=FitOptions(tau=tau)
    )
    np.testing.assert_array_equal(found.weights, fit.weights)
    assert [row["loss"] for row in found.rows] == [row.loss for row in fit.history]
    assert [row["wrong %"] for row in found.rows] == [100 * row.wrong for row in fit.history]
    seconds = [row["seconds"] for row in found.rows]
    assert seconds[0] == 0
    assert seconds == sorted(seconds)


def test_what_is_watched_stands_in_the_rows():
    p = learning.scene_problem(voronoi_colors(12, sites=3))

    def watch(step, weights):
        time.sleep(0.2)
        return {"sum": float(weights.sum()), "at": step}

    rows = learning.descend(p, learning.RANK_ONE, RiemannianGradient(), 2, watch=watch).rows
    assert [row["sum"] for row in rows] == pytest.approx([144.0] * 3, rel=1e-5)
    assert [row["at"] for row in rows] == [row["step"] for row in rows] == [0, 1, 2]
    assert rows[-1]["seconds"] < 0.2  # what is watched does not count


# --- cosines --------------------------------------------------------------------------------------------------------


def test_cosines_by_a_loop_over_pixels_and_where_a_gradient_is_zero():
    rng = np.random.default_rng(0)
    weights = uniform_weights((4, 5), dtype=np.float64)
    found, exact = rng.standard_normal((2, 4, 9, 5))
    found[1, :, 1], exact[2, :, 2] = 3.0, -1.0  # constants: no tangent part
    c = fig3.cosines(fig3.tangent(found, weights), fig3.tangent(exact, weights))
    for y in range(4):
        for x in range(5):
            inside = weights[y, :, x] > 0
            a, b = (f[y, inside, x] - f[y, inside, x].mean() for f in (found, exact))
            if (y, x) == (2, 2):
                assert np.isnan(c[y, x])
            elif (y, x) == (1, 1):
                assert c[y, x] == 0
            else:
                assert c[y, x] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)


def test_the_whole_core_at_full_rank_is_the_exact_gradient():
    problem = random_problem(3, 5, 6)
    flow = problem.flow()
    whole = fig3.whole_core_gradient(flow, TIME, problem.g, rank=20)
    assert relative(whole, exact_gradient(flow, TIME, problem.g).weights) < 1e-9


# --- findings say what the numbers say ------------------------------------------------------------------------------


def test_fig1_finding():
    def rows(learned):
        wrong = dict(zip(fig1.METHODS, (50.0, 7.0, learned), strict=True))
        return [{"scene": s, "method": m, "wrong %": w} for s in ("colors", "lines") for m, w in wrong.items()]

    assert fig1.finding(rows(0.25)).startswith("Learned weights label both scenes best (colors: 50.00 % wrong")
    assert fig1.finding(rows(7.0)).startswith("Learned weights do not label every scene best")


def fig2_rows(factor, slow):
    """Losses that halve, times a factor for the other gradients; the closed form takes 1 s for a step."""
    names = {fig2.OURS: (1.0, 1.0), "euler": (factor, slow), "krylov": (1.0, 2.0)}
    return [
        {"image": image, "gradient": name, "seed": seed, "step": k, "loss": scale * 0.5**k, "wrong %": 1.0 - 0.1 * k,
         "seconds": seconds * k}
        for image in ("noisy", "noiseless") for name, (scale, seconds) in names.items()
        for seed in (0, 1) for k in range(4)
    ]  # fmt: skip


def fig2_descents(best):
    return [
        {"descent": name, "step size": h, "seed": seed, "step": k,
         "loss": (0.5 if (name, h) == best else 1.0) + h - k / 9}
        for name in ("plain", "adam") for h in (0.1, 0.3) for seed in (0, 1) for k in range(3)
    ]  # fmt: skip


def test_fig2_finding():
    close = fig2.finding(fig2_rows(1.05, 6.0), fig2_descents(("adam", 0.3)))
    assert "On noisy images the three gradients train alike (largest difference of the mean loss" in close
    assert "5 % for euler, 0 % for krylov" in close
    assert "euler takes 6.0 times as long and one of krylov takes 2.0 times as long" in close
    assert "adam ends at the smallest mean loss (plain 0.878, adam 0.578)" in close
    far = fig2.finding(fig2_rows(1.2, 6.0), fig2_descents(("plain", 0.1)))
    assert "On noiseless images the three gradients do not train alike" in far
    assert "plain ends at the smallest mean loss" in far


def fig3_rows(share, error):
    rows = [
        {"scene": scene, "steps": 0, "T": T, "rank": rank, "truncation": kind, fig3.SHARE: share, fig3.ERROR: error}
        for scene in fig3.SCENES for T in fig3.TIMES for rank in fig3.RANKS for kind in (fig3.KEPT, fig3.WHOLE)
    ]  # fmt: skip
    return rows, [{"scene": s, "T": 3.0, "Euler steps": 60, f"{fig3.EULER}{fig3.ERROR}": 0.01} for s in fig3.SCENES]


def test_fig3_finding():
    good = fig3.finding(*fig3_rows(99.95, 0.001))
    assert "99.95 % at rank 1 and T = 1 on lines (over 99 %)" in good
    assert "(both over 99.9 %)" in good
    assert "nearer to the exact gradient than 60 Euler steps" in good
    bad = fig3.finding(*fig3_rows(98.5, 0.1))
    assert "(not over 99 %)" in bad
    assert "(not both over 99.9 %)" in bad
    assert "farther from the exact gradient than 60 Euler steps" in bad


def fig4_rows(five, two, one, long):
    """Losses of 1 for every case but those named."""
    cases = [("m", m, T, {5: five, 2: two}.get(m, 1.0)) for T in fig4.DIMENSION_TIMES for m in fig4.DIMENSIONS]
    cases += [("rank", rank, 3.0, one if rank == 1 else 1.0) for rank in fig4.RANKS]
    cases += [("T", T, T, loss) for T, loss in zip(fig4.TIMES, (2.0, 1.0, 1.5, long), strict=True)]
    rows = [
        {"varied": v, "value": value, "T": T, "seed": seed, "step": k, "loss": loss}
        for v, value, T, loss in cases for seed in (0, 1) for k in range(3)
    ]  # fmt: skip
    needed = [
        {"T": T, "seed": 0, "weights": w, "dimension": 2 + k}
        for k, T in enumerate(fig4.TIMES) for w in ("uniform", "learned")
    ]  # fmt: skip
    return rows, needed


def test_fig4_finding():
    good = fig4.finding(*fig4_rows(1.001, 1.4, 1.01, 2.0))
    assert "At T = 3, m = 5 and m = 10 cannot be told apart (losses within 0.1 %), and m = 2 is visibly worse" in good
    assert "last loss +40 %" in good
    assert "Rank 1 trains as full rank does" in good
    assert "T = 3 trains best, and the larger T from there on, the slower" in good
    assert "from 2.0 to 5.0" in good
    bad = fig4.finding(*fig4_rows(1.2, 1.01, 1.4, 1.2))
    assert "m = 5 and m = 10 can be told apart (losses within 20 %), and m = 2 is not visibly worse" in bad
    assert "Rank 1 does not train as full rank does" in bad
    assert "larger T is not slower throughout" in bad


@pytest.mark.parametrize(("predicted", "verdict"), [(0.5, "label unseen lines best: 0.50 %"), (4.0, "do not label")])
def test_fig5_finding(predicted, verdict):
    wrong = dict(zip(fig5.METHODS, (5.0, 3.0, predicted), strict=True))
    rows = [{"seed": k, "method": m, "wrong %": w + d} for m, w in wrong.items() for k, d in enumerate((-0.2, 0.2))]
    assert f"Predicted weights {verdict}" in fig5.finding(rows)
    assert "means over 2 images" in fig5.finding(rows)


def test_subspace_finding():
    def rows(ratio, last):
        columns = ("left angle", "right angle", "left angle to start", "right angle to start")
        sigmas, angles = {"sigma 1": ratio, "sigma 2": 1.0}, (float("nan"), 30.0, *[last] * 5)
        return [sigmas | dict.fromkeys(columns, angle) for angle in angles]

    assert "leads the second by over ten times (ratios 200 to 200). The subspace comes to rest" in subspace.finding(
        rows(200.0, 0.1)
    )
    assert "does not always lead the second by ten times" in subspace.finding(rows(9.0, 0.1))
    assert "still turns: from step to step its left field turns by 30 degrees at first and 8 in" in subspace.finding(
        rows(200.0, 8.0)
    )


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [([3, 4], [2, 3], "helps"), ([3, 4], [2, 4.1], "changes little"), ([3, 4], [2.99, 3.99], "changes little"),
     ([3, 4], [4, 5], "hurts"), ([3, 4], [3.01, 4.01], "changes little"), ([0, 0], [0, 0], "changes little")],
)  # fmt: skip
def test_what_counts_as_a_difference(one, other, verdict):
    assert unseen.compared(np.array(one), np.array(other)) == verdict


def depth_rows(learned, own, shared, long):
    """Every case with one layer leaves 1 % at T = 3 and 2 % at T = 12; three layers leave what is given."""
    cases = [(T, 1, depth.OWN, how, T / 6 + 0.5) for T in (3.0, 9.0) for how in (depth.LEARNED, depth.PREDICTED)]
    cases += [(T, 3, depth.OWN, depth.LEARNED, learned) for T in (3.0, 9.0)]
    cases += [(3.0, 3, depth.OWN, depth.PREDICTED, own), (3.0, 3, depth.SHARED, depth.PREDICTED, shared)]
    cases += [(9.0, 3, depth.OWN, depth.PREDICTED, long), (9.0, 3, depth.SHARED, depth.PREDICTED, 9.0)]
    cases += [(T, 3, depth.UNIFORM, "no learning", 0.6) for T in (3.0, 9.0)]
    return [
        {"scene": "lines", "T": T, "layers": n, "weights": w, "how": how, "repeat": k, "wrong %": x * (1 + k / 10),
         "validation wrong %": x + 1}
        for T, n, w, how, x in cases for k in (0, 1)
    ]  # fmt: skip


def test_depth_finding():
    good = depth.finding(depth_rows(0.01, 0.9, 0.5, 0.2))
    assert "Weights learned on images of lines: at T = 3 depth helps (1.05 % wrong with one layer, 0.0105 %" in good
    assert "unseen lines: at T = 3 depth helps (1.05 % wrong with one layer, 0.525 % with 3, shared weights)" in good
    assert "at T = 9 depth helps (2.1 % wrong with one layer, 0.21 % with 3, own weights)" in good
    assert "each at its best time, 3 and 9, depth helps (1.05 % wrong with one layer, 0.21 % with 3, own" in good
    assert "That is better than uniform weights (0.6 %), and having own weights instead of shared ones helps" in good
    assert "(0.21 % and 9.45 %)" in good
    bad = depth.finding(depth_rows(2.5, 1.0, 1.5, 3.0))
    assert "That is no better than uniform weights (0.6 %)" in bad
    assert "learned on images of lines: at T = 3 depth hurts" in bad
    assert "unseen lines: at T = 3 depth changes little (1.05 % wrong with one layer, 1.05 % with 3, own" in bad
    assert "at T = 9 depth hurts" in bad
    assert "each at its best time, 3 and 3, depth changes little" in bad


def test_neighborhoods_finding():
    def rows(five):
        wrong = {3: 2.0, 5: five, 7: 3.0}
        return [
            {"scene": "lines", "side": side, "repeat": k, "wrong %": w + k / 10, neighborhoods.UNIFORM_WRONG: 7.0,
             neighborhoods.STEP: side * (1 + k), neighborhoods.LABEL: side**2}
            for side, w in wrong.items() for k in (0, 1)
        ]  # fmt: skip

    good = neighborhoods.finding(rows(1.0))
    assert "On unseen lines, 3×3 weights leave 2.05 % wrong, uniform ones 7.00 %; 5×5 helps (1.05 % wrong" in good
    assert "a training step takes 1.7 times as long, labeling 2.8 times) and 7×7 hurts (3.05 % wrong" in good
    assert "5×5 changes little (2.05 % wrong" in neighborhoods.finding(rows(2.0))


# --- memory ---------------------------------------------------------------------------------------------------------


def test_the_kronecker_sum_is_the_exact_gradient():
    problem = random_problem(2, 2, 3)
    flow = problem.flow()
    M, mean = dense_derivative(flow, TIME, problem.g)
    n, shape = len(mean), flow.S.shape
    split = mean.reshape(shape), M.T.reshape(n, *shape), np.eye(n).reshape(n, *shape)
    assert relative(flow.derivative(*split)[0], exact_gradient(flow, TIME, problem.g).weights) < 1e-11
    assert relative(dense_operator(flow) @ problem.g.ravel(), flow.A(problem.g).ravel()) < 1e-14


@pytest.mark.parametrize("name", [name for name, method in space.methods().items() if not method.torch])
def test_every_measured_gradient_is_one(name):
    method = space.methods()[name]
    p = learning.scene_problem(voronoi_lines(3 if method.dense else 12, sites=4), dtype=np.float64)
    flow = p.flow(p.uniform_weights)
    g = cosine_loss(Taylor(tol=1e-12).solve(flow, TIME).v, p.truth).derivative
    error = relative(method.gradient(p), exact_gradient(flow, TIME, g).weights)
    assert error < (0.1 if "rank 1" in name else 1e-5)


def test_arrays_that_are_held_at_once_count():
    def task():
        first = np.ones(100_000)
        del first
        return [np.ones(50_000), np.ones(50_000)], np.ones(70_000)

    assert 0 <= space._array_bytes(task) - 8 * 170_000 < 8000


def test_tensors_that_are_held_at_once_count():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def task():
        first = torch.ones(100_000)
        del first
        return [torch.ones(50_000), torch.ones(50_000)], torch.ones(70_000)

    assert 0 <= space._tensor_bytes(task) - 4 * 170_000 < 8000


def test_space_finding():
    numbers = [("dense", 3, 900.0), ("a", 16, 25.0), ("a", 32, 20.0), ("b", 16, 11.0), ("b", 32, 10.0)]
    rows = [
        {"gradient": name, "side": side, "labels": 2, "bytes": 2e6 * side, space.KEPT: kept, space.NEEDED: 10.0}
        for name, side, kept in numbers
    ]
    expected = "At 32×32 pixels and 2 labels a gradient holds, in floats per pixel, b: 10, a: 20; 1 to 2 times"
    assert space.finding(rows).startswith(expected)
    assert space.finding(rows).endswith("The dense form takes 6 MB for 3×3 pixels.")
    assert "dense" not in space.finding(rows[1:])


# --- helpers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 0.3, 45.0, 90.0])
def test_angle_between_lines_whatever_their_signs_and_lengths(degrees):
    x, y = np.zeros((3, 2, 4)), np.zeros((3, 2, 4))
    x[1, 0, 2] = 2.0
    y[1, 0, 2], y[0, 1, 0] = -3 * np.cos(np.radians(degrees)), 3 * np.sin(np.radians(degrees))
    assert subspace.angle(x, y) == pytest.approx(degrees, rel=1e-6, abs=1e-12)


def test_own_share_by_a_loop():
    rng = np.random.default_rng(0)
    truth, weights = rng.integers(0, 2, (4, 5)), random_problem().weights
    expected = np.zeros((4, 5))
    for y in range(4):
        for x in range(5):
            for o in range(9):
                ny, nx = y + o // 3 - 1, x + o % 3 - 1
                if 0 <= ny < 4 and 0 <= nx < 5 and truth[ny, nx] == truth[y, x]:
                    expected[y, x] += weights[y, o, x]
    np.testing.assert_allclose(fig5.own_share(weights, truth), expected, rtol=1e-12)


def test_gradient_error_of_the_exact_gradient_and_of_twice_it():
    p = learning.scene_problem(voronoi_colors(12, sites=3), dtype=np.float64)
    exact = ClosedForm(Taylor(tol=1e-14))
    assert fig4.gradient_error(p, p.uniform_weights, exact) < 1e-10

    def twice(problem, averagings):
        found = exact(problem, averagings)
        return found._replace(weights=[2 * x for x in found.weights])

    assert fig4.gradient_error(p, p.uniform_weights, twice) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("shared", [False, True])
def test_one_layer_learned_is_fit_weights_and_more_layers_learn_more(shared):
    scene = voronoi_lines(24, sites=5, noise=0.5)
    likelihood = learning.scene_likelihood(scene)
    fit = fit_weights(likelihood, scene.truth, descent=RiemannianAdam(0.2), steps=6)
    one = depth.learned(scene, [3.0], 6, shared=shared)
    assert one == pytest.approx(fit.history[-1].wrong)
    assert depth.learned(scene, [1.0] * 3, 6, shared=shared) < one


def test_scenes_of_a_training_are_apart_and_show_every_label():
    first, second = (unseen.sets("colors", Tiny(True), repeat) for repeat in (0, 1))
    for scenes in (first, second):
        assert set(np.unique([s.truth for s in scenes.known])) == set(range(8))
        everything = [s.image for part in scenes for s in part]
        assert len({image.tobytes() for image in everything}) == len(everything)
    np.testing.assert_array_equal(first.unseen[0].image, second.unseen[0].image)
    assert (first.known[0].image != second.known[0].image).all()


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")  # a scene of 20×20 pixels is smoothed to one label
def test_baselines_by_label_and_by_loops():
    scenes = [voronoi_lines(20, sites=4, noise=0.5, seed=seed) for seed in range(2)]
    found = unseen.baselines(scenes, 3.0)
    wrong = [np.mean(label(s.image.astype(np.float32), s.prototypes).labels != s.truth) for s in scenes]
    assert found["uniform weights"] == pytest.approx(np.mean(wrong), abs=0.003)
    pixels = [np.mean((s.image[..., 0] > 0.5) != s.truth) for s in scenes]
    assert found["pixelwise"] == pytest.approx(np.mean(pixels))
    assert unseen.baselines(scenes, 3.0, radius=2)["uniform weights"] != found["uniform weights"]


# --- whole experiments ----------------------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """Threads of PyTorch that wait for each other on small arrays cost more than they bring."""
    if missing("fig2"):
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Tiny(Setting):
    """The quick setting on the smallest scenes, with fewer steps still."""

    size = 24

    def pick(self, full, quick):
        return min(quick, 4)


def without_measured(tables):
    measured = ("seconds", "bytes", "floats per pixel")
    return {
        stem: [{k: v for k, v in row.items() if not k.endswith(measured)} for row in rows]
        for stem, rows in tables.items()
    }


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")  # tiny scenes are smoothed to one label
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_files_and_the_same_numbers_again(tmp_path, name, one_thread):
    if lack := missing(name):
        pytest.skip(lack)
    heard = []
    first = reproduce(name, tmp_path, Tiny(True, 3, heard.append))
    second = reproduce(name, tmp_path, Tiny(True, 3))
    np.testing.assert_equal(without_measured(second.tables), without_measured(first.tables))
    assert (name == "fig1") or heard
    stems = {f"{stem}{suffix}" for stem in first.drawings for suffix in (".png", ".pdf")}
    assert {path.name for path in tmp_path.iterdir()} == stems | {f"{stem}.csv" for stem in first.tables}
    for stem, rows in second.tables.items():
        with open(tmp_path / f"{stem}.csv", newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        assert [list(row) for row in read] == [list(row) for row in rows]
        assert [list(row.values()) for row in read] == [[str(value) for value in row.values()] for row in rows]
    for drawing in first.drawings.values():
        assert drawing.caption.endswith(".")


def test_another_seed_gives_other_numbers(tmp_path):
    one, two = (reproduce("subspace", tmp_path, Tiny(True, seed)) for seed in (0, 1))
    assert one.tables["subspace"][0]["loss"] != two.tables["subspace"][0]["loss"]


def test_without_pytorch_its_experiment_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"fig2 needs PyTorch. Install it with: python -m pip install 'gpulaf"):
        reproduce("fig2", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_all_others_are_done(tmp_path, monkeypatch, capsys):
    from gpulaf.experiments import paper, report, result

    done = []

    def reproduced(name, *_):
        done.append(name)
        return result.ExperimentResult({}, {}, f"{name} is so.")

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(report, "reproduce", reproduced)
    monkeypatch.setattr(paper, "CLAIMS", [claim for claim in paper.CLAIMS if claim.experiment == "fig2"])
    status, output, errors = run_here(capsys, "reproduce", "all", "-o", tmp_path)
    assert (status, done) == (0, [name for name in EXPERIMENTS if name != "fig2"])
    assert output == f"report: {tmp_path / 'report.md'}\n"
    assert "note: left out: fig2 needs PyTorch. Install it with: python -m pip install 'gpulaf[torch]'." in errors
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Left out: fig2 needs PyTorch." in text
    assert "| `fig2` was not run |" in text
    assert "fig2 is so" not in text
    assert "fig3 is so" in text


def test_an_experiment_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match="the experiment is 'fig9'; accepted are fig1, fig2"):
        reproduce("fig9", tmp_path)


def test_the_report_has_every_finding_figure_and_table(tmp_path, monkeypatch):
    from gpulaf.experiments import report, result

    drawings = {"a": result.Drawing(None, "What a shows.")}
    monkeypatch.setattr(report, "EXPERIMENTS", {"one": "Is it so?", "two": "And this?"})
    monkeypatch.setattr(
        report, "reproduce", lambda name, *_: result.ExperimentResult(drawings, {"t": [{"x": 1}]}, f"{name} is so.")
    )
    text = report.reproduce_all(tmp_path, quick=True, seed=7).read_text(encoding="utf-8")
    assert "quick size, seed 7" in text
    assert re.search(r"\d+ seconds, \d+ of processors: one \d+, two \d+\.", text)
    for part in ("## one: Is it so?\n\none is so.", "two is so.", "![two](a.png)", "*What a shows.*", "[t.csv](t.csv)"):
        assert part in text
