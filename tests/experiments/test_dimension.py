"""Learning in subspaces against explicit matrices and central differences; what the experiment on dimensions says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from oracles import tol

from gpulaf import Taylor, WeightNetwork, WeightPredictor, cosine_loss
from gpulaf.experiments import dimension
from gpulaf.experiments.learning import scene_problem
from gpulaf.experiments.random_subspace import RandomSubspace, Span
from gpulaf.experiments.restricted import LogWeights, RestrictedMap, descend, in_subspace
from gpulaf.learning.problem import ClosedForm
from gpulaf.prediction.model import Parameters
from gpulaf.prediction.network import starting_network
from gpulaf.prediction.training import Training
from gpulaf.scenes import voronoi_colors, voronoi_lines

EXACT = ClosedForm(Taylor(tol=1e-14))


def matrix(space):
    """P, column by column."""
    return np.stack([space.lift(z) for z in np.eye(space.dimension)], axis=1)


def problem(dtype=np.float64):
    return scene_problem(voronoi_colors(9, sites=4), dtype=dtype)


# --- subspaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(1, 1), (50, 1), (50, 7), (51, 50), (64, 64)])
def test_random_directions_are_orthogonal_and_as_long_as_they_should_be(n, d):
    space = RandomSubspace(n, d, 3)
    P = matrix(space)
    np.testing.assert_allclose(P.T @ P, n / d * np.eye(d), atol=1e-12 * n)
    x = np.random.default_rng(0).standard_normal(n)
    np.testing.assert_allclose(space.project(x), P.T @ x, atol=1e-12 * n)


def test_random_directions_come_from_the_seed():
    one, again, other = (matrix(RandomSubspace(40, 6, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert abs(one - other).max() > 0.1


@pytest.mark.parametrize("kind", ["a number", "all alike", "a wave"])
def test_random_directions_prefer_nothing(kind):
    """The mean of ‖Qᵀx‖² over subspaces, with Q of length 1, is d/n for every x of length 1."""
    n, d, seeds = 300, 30, 400
    x = {"a number": np.eye(n)[17], "all alike": np.ones(n), "a wave": np.cos(np.arange(n) * 0.7)}[kind]
    x = x / np.linalg.norm(x)
    held = [np.sum(RandomSubspace(n, d, seed).project(x) ** 2) * d / n for seed in range(seeds)]
    # of a uniformly random subspace, ‖Qᵀx‖² is Beta(d/2, (n − d)/2)
    deviation = (2 * d * (n - d) / n**2 / (n + 2)) ** 0.5
    assert np.mean(held) == pytest.approx(d / n, abs=4 * deviation / seeds**0.5)
    assert np.std(held) == pytest.approx(deviation, rel=0.25)


def test_the_numbers_of_a_random_direction_are_nearly_normal():
    from scipy.stats import kstest

    assert kstest(RandomSubspace(5000, 1, 0).lift(np.ones(1)), "norm").pvalue > 0.01


@pytest.mark.parametrize("d", [0, 11])
def test_subspaces_that_do_not_exist(d):
    with pytest.raises(ValueError, match=f"dimension is {d}; accepted are 1 to 10"):
        RandomSubspace(10, d, 0)


def test_a_span_holds_its_directions_and_nothing_else():
    directions = np.random.default_rng(0).standard_normal((3, 20)) * [[1e-9], [1.0], [1e6]]
    space = Span(directions)
    P = matrix(space)
    np.testing.assert_allclose(P.T @ P, 20 / 3 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(P @ np.linalg.lstsq(P, directions.T, rcond=None)[0], directions.T, rtol=1e-9)
    np.testing.assert_allclose(space.project(P[:, 1]), [0, 20 / 3, 0], atol=1e-12)


# --- weights of an image --------------------------------------------------------------------------------------------


def test_weights_start_where_the_problem_starts_and_stay_patches(dtype):
    p = problem(dtype)
    logs = LogWeights(p, EXACT)
    np.testing.assert_allclose(logs.weights(np.zeros(logs.dimension)), p.uniform_weights, rtol=tol(dtype))
    moved = logs.weights(3 * np.random.default_rng(0).standard_normal(logs.dimension))
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved.sum(axis=-2), 1, rtol=tol(dtype))
    np.testing.assert_array_equal(moved > 0, p.uniform_weights > 0)
    assert logs.dimension == 9 * 81


@pytest.mark.parametrize("space", [None, 6], ids=["all numbers", "a subspace"])
def test_the_derivative_in_z_by_central_differences(space):
    p = problem()
    n = LogWeights(p, EXACT).dimension
    logs = LogWeights(p, EXACT, space and RandomSubspace(n, space, 0))
    rng = np.random.default_rng(1)
    z, direction = rng.standard_normal((2, logs.dimension))
    h = 1e-5
    plus, minus = (logs.evaluate(z + s * h * direction)[0] for s in (1, -1))
    assert logs.evaluate(z)[1] @ direction == pytest.approx((plus - minus) / (2 * h), rel=1e-7)


def test_wrong_pixels_by_hand():
    p = problem()
    found = Taylor(tol=1e-14).solve(p.flow(p.uniform_weights), p.time).v.argmax(axis=-2)
    logs = LogWeights(p, EXACT)
    assert logs.evaluate(np.zeros(logs.dimension))[2] == pytest.approx(100 * np.mean(found != p.truth))


@pytest.mark.parametrize("step", [0.05, 0.5])
def test_all_dimensions_of_a_random_basis_are_the_full_training(dtype, step):
    p = problem(dtype)
    full = LogWeights(p, EXACT)
    basis = RandomSubspace(full.dimension, full.dimension, 5)
    (path, rows), (turned, again) = (descend(x, step, 12) for x in (full, LogWeights(p, EXACT, basis)))
    loose = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose([row["loss"] for row in again], [row["loss"] for row in rows], rtol=loose)
    np.testing.assert_allclose(basis.lift(turned[-1]), path[-1], atol=loose * abs(path[-1]).max())
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


def test_a_step_changes_log_weights_by_the_step_size_in_any_dimension():
    p = problem()
    n = LogWeights(p, EXACT).dimension
    for space in (None, RandomSubspace(n, 3, 0), RandomSubspace(n, 200, 0)):
        logs = LogWeights(p, EXACT, space)
        path, _ = descend(logs, 0.1, 1)
        slope = logs.evaluate(path[0])[1]
        np.testing.assert_allclose(path[1], -0.1 * slope / np.sqrt(np.mean(slope**2)), rtol=1e-12)
        assert np.sqrt(np.mean(logs.shift(path[1]) ** 2)) == pytest.approx(0.1)


def test_steps_are_those_of_adam_with_one_second_moment():
    p = problem()
    logs = LogWeights(p, EXACT, RandomSubspace(LogWeights(p, EXACT).dimension, 20, 0))
    path, _ = descend(logs, 0.2, 5)
    slopes = np.array([logs.evaluate(z)[1] for z in path[:-1]])
    for k in range(1, 6):
        decay1, decay2 = (np.array([b ** (k - 1 - i) for i in range(k)]) for b in (0.9, 0.99))
        mean = decay1 @ slopes[:k] / decay1.sum()
        length = (decay2 @ np.mean(slopes[:k] ** 2, axis=1) / decay2.sum()) ** 0.5
        np.testing.assert_allclose(path[k], path[k - 1] - 0.2 * mean / length, rtol=1e-9, atol=1e-12)


def test_terms_of_the_core_make_the_gradient():
    """The sum of what the terms give is the slope at the start, and their number is the rank."""
    p = scene_problem(voronoi_lines(24, sites=5), dtype=np.float64)
    logs = LogWeights(p, EXACT)
    zero = np.zeros(logs.dimension)
    terms, start, end = dimension._core(p, zero)
    slope = logs.evaluate(zero)[1]
    errors = [np.linalg.norm(slope - terms[:r].sum(axis=0)) / np.linalg.norm(slope) for r in (1, 2, 3)]
    assert errors[0] < 0.05
    assert errors[1] < 1e-3
    assert errors[2] < 1e-5
    np.testing.assert_array_equal(start, end)
    assert (np.diff(start) < 0).all()


# --- predictors -----------------------------------------------------------------------------------------------------


TRAINING = Training(steps=3, step_size=0.05)
PREDICTORS = [
    WeightPredictor(5, solver=Taylor(8), training=TRAINING),
    WeightNetwork((4,), features="patch:1", solver=Taylor(8), training=TRAINING),
]
STARTS = [
    Parameters(*np.random.default_rng(1).standard_normal((2, 5, 9)), 0.7),
    starting_network(np.zeros(9), 2, hidden=(4,), stages=2, radius=1, reach=1, correction=True, seed=0),
]


def fitted(predictor, **options):
    scenes = [voronoi_lines(16, sites=4, noise=0.5, seed=seed) for seed in (0, 1)]
    return predictor.fit([s.image for s in scenes], [s.truth for s in scenes], progress=False, **options)


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda x: type(x).__name__)
def test_predictors_in_all_of_the_space_are_the_predictors(predictor):
    full = fitted(predictor)
    same = fitted(in_subspace(predictor, lambda n: Span(np.eye(n))))
    np.testing.assert_allclose([r.loss for r in same.history_], [r.loss for r in full.history_], rtol=1e-6)
    scene = voronoi_lines(16, sites=4, noise=0.5, seed=9)
    np.testing.assert_allclose(same.weights(scene.image), full.weights(scene.image), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda x: type(x).__name__)
def test_predictors_move_in_their_subspace_and_their_losses_fall(predictor):
    maps, spaces = [], []

    def space(n):
        spaces.append(RandomSubspace(n, 4, 0))
        return spaces[-1]

    found = fitted(in_subspace(predictor, space), callback=lambda _, x: maps.append(x))
    assert found.history_[-1].loss < found.history_[0].loss
    assert [x.vector.shape for x in maps] == [(4,)] * 4
    move = maps[-1].whole.vector - maps[0].whole.vector
    np.testing.assert_allclose(spaces[0].lift(maps[-1].vector), move, atol=1e-12)
    for name, tensor in maps[-1].tensors.items():
        np.testing.assert_array_equal(tensor, maps[-1].whole.tensors[name])
    assert maps[0].radius == 1
    assert maps[0].reach_with(3) == maps[0].whole.reach_with(3)
    assert maps[0].workspace() == maps[0].whole.workspace()


@pytest.mark.parametrize("start", STARTS, ids=lambda x: type(x).__name__)
def test_the_derivative_of_a_map_in_z_by_central_differences(start):
    rng, times, h = np.random.default_rng(0), [1.0] * len(getattr(start, "stages", [1])), 1e-5
    features, likelihood = rng.standard_normal((7, 9, 6)), rng.standard_normal((7, 2, 6))
    truth = rng.integers(0, 2, (7, 6)).astype(np.int32)
    at, direction = rng.standard_normal((2, 6))
    start = RestrictedMap(start, RandomSubspace(len(start.vector), 6, 1))

    def labeled(vector):
        bound = start.moved(vector).bound(features).keep()
        flow = bound.flow(times, Taylor(tol=1e-14))
        return bound, flow, flow.solve(likelihood, keep_basis=True, keep_states=True)

    bound, flow, solution = labeled(at)
    g = cosine_loss(solution.v, truth).derivative
    slope = bound.derivative(flow.gradient(solution, g, times=bound.learns_times))
    plus, minus = (cosine_loss(labeled(at + s * h * direction)[2].v, truth).value for s in (1, -1))
    assert slope @ direction == pytest.approx((plus - minus) / (2 * h), rel=1e-6)


# --- what is said ---------------------------------------------------------------------------------------------------


def test_grid_of_dimensions():
    assert dimension.dimensions(901) == [4, 8, 16, 32, 64, 128, 256, 901]
    assert dimension.dimensions(16) == [4, 8, 16]


def test_smallest_dimension_of_each_seed():
    rows = [
        {"seed": s, "d": d, "x": kept}
        for s, shares in enumerate([(10, 90, 95), (0, 89, 120), (0, 0, 0)])
        for d, kept in zip((4, 8, 16), shares, strict=True)
    ]
    assert dimension.smallest(rows, "x") == [8, 16]


@pytest.mark.parametrize(("values", "count"), [([1.0], 1), ([1, 0.11], 2), ([1, 0.1], 1), ([1, 1, 1, 0.01], 3)])
def test_directions_that_hold_the_squares(values, count):
    assert dimension.held_in(values) == count


def made_up(kept, growth, path):
    """Full training and two random dimensions on two sides; the larger keeps from `kept` on."""
    rows = []
    for side, factor in ((32, 1), (64, growth)):
        about = {"learned": "weights of lines", "side": side, "n": 1000, "start wrong %": 6.0, "wrong %": 1.0}
        rows.append({**about, "kind": dimension.FULL, "d": 1000, "seed": 0, dimension.LOSS: 100, dimension.WRONG: 100})
        for d in (8, 16, 32, 64):
            share = 95 if d >= kept * factor else 40
            rows.append(
                {**about, "kind": dimension.RANDOM, "d": d, "seed": 0, dimension.LOSS: share, dimension.WRONG: 5}
            )
        rows += [
            {**about, "kind": dimension.PATH, "d": r, "seed": 0, dimension.LOSS: path * r, dimension.WRONG: 0}
            for r in (1, 2)
        ]
    values = [{"learned": "weights of lines", "side": 64, "of": "path", "singular value": x} for x in (1, 0.5)]
    return rows, values


def test_finding():
    text = dimension.finding(*made_up(8, 4, 92))
    assert "Weights of lines (64×64 pixels, 1000 numbers): 90 % of the gain in loss takes 32 (3.2 %) random" in text
    assert "that in wrong pixels (6 to 1 %) more than all; 92 % in loss is kept in one direction of the path" in text
    assert "99 % of the squares are in 2 of the path." in text
    assert "With four times the pixels, weights of lines take 4 times as many random directions." in text
    other = dimension.finding(*made_up(8, 1, 30))
    assert "60 % in loss is kept in 2 directions of the path" in other
    assert "take 1 times as many" in other
    assert "With four times" not in dimension.finding(*made_up(100, 1, 30))


def test_the_page_says_what_was_found():
    folder = Path(__file__).parents[2]
    page = " ".join((folder / "docs" / "reproduce.md").read_text(encoding="utf-8").split())
    with (folder / "perf/results/reproduced/dimension.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def kept(learned, kind, d):
        shares = [
            float(row[dimension.LOSS])
            for row in rows
            if (row["learned"], row["side"], row["kind"], row["d"]) == (learned, "128", kind, str(d))
        ]
        return shares[0]

    def gains(learned, d):
        mine = [row for row in rows if (row["learned"], row["side"], row["kind"]) == (learned, "64", "random")]
        return [float(row[dimension.LOSS]) for row in mine if row["d"] == str(d)]

    def needed(learned, side):
        mine = [row for row in rows if (row["learned"], row["side"], row["kind"]) == (learned, str(side), "random")]
        own = [{"seed": r["seed"], "d": int(r["d"]), "kept": float(r[dimension.LOSS])} for r in mine]
        return int(np.median(dimension.smallest(own, "kept")))

    few, many = ([needed(f"weights of {name}", side) for name in dimension.SCENES] for side in (64, 128))
    assert f"{few[0]} and {many[0]} for lines of 64×64 and 128×128 pixels, {few[1]} and {many[1]} for colors" in page
    assert many == [4 * x for x in few]
    predictors = [needed(name, 64) for name in dimension.PREDICTORS]
    assert f"need {predictors[0]} random directions of 901 (`WeightPredictor`) and {predictors[1]} of 4113" in page
    names = [f"weights of {name}" for name in dimension.SCENES]
    assert min(kept(name, dimension.PATH, 1) for name in names) > 98.5
    first, third = ([kept(name, dimension.CORE, r) for name in names] for r in (1, 3))
    assert f"keeps {first[0]:.0f} % on lines and {first[1]:.0f} % on colors" in page
    assert f"the first three keep {third[0]:.0f} % and {third[1]:.0f} %" in page
    assert f"512 random directions gain {np.mean(gains('weights of lines', 512)):.0f} % on lines of 64×64" in page
    more = gains("WeightPredictor", 901) + gains("WeightNetwork", 4113)
    assert f"predictors {min(more) - 100:.0f} to {max(more) - 100:.0f} % more in loss in random coordinates" in page
