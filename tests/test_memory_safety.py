"""No public call leads a compiled loop out of an array: wrong shapes, dtypes and indices are refused with a sentence.

Each entry of `CALLS` is a call that works, with the arguments that a user may get wrong. The property test replaces
one of them by another array, list or number that cannot be right: ValueError or TypeError, never a number. The kernels
themselves run with Numba's bounds checks, in a process of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from gpulaf.kernels._numba import available
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpulaf
from gpulaf import averaging, flows, integrators, labeling, learning, prediction, simplex

H, J, W, C = 5, 3, 7, 2
RNG = np.random.default_rng(0)
FIELD, OTHER = (RNG.standard_normal((H, J, W)).astype(np.float32) for _ in range(2))
STACK = RNG.standard_normal((2, H, J, W)).astype(np.float32)
WEIGHTS = gpulaf.uniform_weights((H, W))
TRUTH = RNG.integers(-1, J, (H, W))
IMAGE = RNG.random((H, W, C)).astype(np.float32)
PROTOTYPES = RNG.random((J, C)).astype(np.float32)
NODES = RNG.standard_normal((J, 6)).astype(np.float32)
MATRIX = scipy.sparse.csr_array(np.full((6, 6), 1 / 6, np.float32))
PARAMETERS = prediction.Parameters(RNG.random((4, C)), RNG.standard_normal((4, 9)), 1.0)
FEATURES = RNG.random((H, C, W)).astype(np.float32)
LABELS = TRUTH.clip(0)


def flow(weights=WEIGHTS, field=FIELD):
    return flows.LinearFlow(gpulaf.Grid(weights), field)


def graph_flow(field=NODES):
    return flows.LinearFlow(gpulaf.Graph(MATRIX), field)


def solved(solver, field):
    return flows.weight_gradient(flow(), solver.solve(flow(), 1.0), field).weights


def step(descent, weights, gradient, **state):
    return descent.update(weights, gradient, descent.start(WEIGHTS) | state, 0)[0]


def deep(weights, field, g):
    model = flows.DeepFlow(weights, [1.0, 0.5])
    return model.gradient(model.solve(field), g).weights


def network(weights, field, g):
    model = flows.FlowNetwork([weights, WEIGHTS], [1.0, 1.0], {(0, 1): np.eye(J)}, mixing={(1, 0): np.eye(J)})
    return model.gradient(model.solve([field, None]), g).weights


def of_tangents(tangents):
    return prediction.predict_weights(PARAMETERS._replace(tangents=tangents), FEATURES)


def of_prototypes(prototypes):
    return prediction.predict_weights(PARAMETERS._replace(feature_prototypes=prototypes), FEATURES)


SECOND = np.zeros((H, W), np.float32)

#: Name: a function and the arguments that it works with.
CALLS = {
    "LinearFlow": (flow, [WEIGHTS, FIELD]),
    "LinearFlow.A": (lambda v, b: flow().A(v, b), [FIELD, OTHER]),
    "LinearFlow.At": (lambda v, b: flow().At(v, b), [FIELD, OTHER]),
    "LinearFlow.A out": (lambda out: flow().A(FIELD, out=out), [np.empty_like(FIELD)]),
    "LinearFlow.chain": (lambda x, b, out: flow().chain(x, b, [1.0, 0.5], out=out), [FIELD, OTHER, STACK.copy()]),
    "LinearFlow.derivative": (lambda m, *s: flow().derivative(m, *s), [FIELD, STACK, STACK, STACK]),
    "LinearFlow on a graph": (graph_flow, [NODES]),
    "LinearFlow.A on a graph": (lambda v, b: graph_flow().A(v, b), [NODES, NODES]),
    "LinearFlow.derivative on a graph": (
        lambda m, *s: graph_flow().derivative(m, *s), [NODES, NODES[None], NODES[None], NODES[None]],
    ),
    "Grid.apply": (lambda w, v: gpulaf.Grid(w).apply(v), [WEIGHTS, FIELD]),
    "Grid.adjoint": (lambda v, b: gpulaf.Grid(WEIGHTS).adjoint(v, b), [FIELD, OTHER]),
    "Grid.similarity": (lambda v: gpulaf.Grid(WEIGHTS).similarity(v)[0], [FIELD]),
    "Grid.replicate": (lambda s, v, b: gpulaf.Grid(WEIGHTS).replicate(s, v, b), [FIELD, FIELD, OTHER]),
    "Grid.weight_gradient": (lambda *x: gpulaf.Grid(WEIGHTS).weight_gradient(*x)[0], [FIELD] * 3 + [STACK] * 3),
    "Graph.apply": (lambda v: gpulaf.Graph(MATRIX).apply(v), [NODES]),
    "Graph.adjoint": (lambda v, b: gpulaf.Graph(MATRIX).adjoint(v, b), [NODES, NODES]),
    "normalize_weights": (averaging.normalize_weights, [WEIGHTS]),
    "nearest_neighbor_graph": (lambda p: averaging.nearest_neighbor_graph(p, 2).weights, [IMAGE[0]]),
    "kmeans_prototypes": (lambda x: labeling.kmeans_prototypes(x, 2), [IMAGE]),
    "log_likelihood": (lambda d: labeling.log_likelihood(d, 0.1), [FIELD]),
    "weight_regularizer": (lambda w: learning.weight_regularizer(w, 0.1).value, [WEIGHTS]),
    "scores": (lambda c: prediction.scores(c).wrong, [np.eye(3, dtype=int)]),
    "AssignmentFlow": (lambda w, l: flows.AssignmentFlow(gpulaf.Grid(w), l).solve(time=1.0).v, [WEIGHTS, FIELD]),
    "AssignmentFlow.rate": (lambda v: flows.AssignmentFlow(gpulaf.Grid(WEIGHTS), FIELD).rate(v), [FIELD]),
    "DeepFlow": (deep, [WEIGHTS, FIELD, OTHER]),
    "FlowNetwork": (network, [WEIGHTS, FIELD, OTHER]),
    "s_flow_solution": (lambda v: flows.s_flow_solution(flow(), v).S, [FIELD]),
    "weight_gradient of Taylor": (lambda g: solved(integrators.Taylor(), g), [OTHER]),
    "weight_gradient of Krylov": (lambda g: solved(integrators.Krylov(), g), [OTHER]),
    "weight_gradient of Euler": (lambda g: solved(integrators.Euler(steps=4), g), [OTHER]),
    "exact_gradient": (lambda g: flows.exact_gradient(flow(), 1.0, g, nodes=2).weights, [OTHER]),
    "cosine_loss": (lambda v, t, c: gpulaf.cosine_loss(v, t, class_weights=c), [FIELD, TRUTH, np.ones(J)]),
    "cross_entropy_loss": (
        lambda v, t, c: gpulaf.cross_entropy_loss(v, t, class_weights=c), [FIELD, TRUTH, np.ones(J)],
    ),
    "cross_entropy_loss of pixels": (
        lambda v, t, c: gpulaf.cross_entropy_loss(v, t, pixel_weights=c), [FIELD, TRUTH, np.ones((H, W))],
    ),
    "BoundaryLoss": (learning.BoundaryLoss(), [FIELD, TRUTH]),
    "ConnectivityLoss": (learning.ConnectivityLoss((0, 1)), [FIELD, TRUTH]),
    "rand_scores": (prediction.rand_scores, [LABELS, LABELS]),
    "wrong_share": (learning.wrong_share, [FIELD, TRUTH]),
    "RiemannianAdam": (
        lambda w, g, m, s: step(learning.RiemannianAdam(), w, g, first=m, second=s),
        [WEIGHTS, WEIGHTS, WEIGHTS, SECOND],
    ),
    "AdaMax": (lambda w, g, m, s: step(learning.AdaMax(), w, g, first=m, second=s), [WEIGHTS] * 4),
    "RiemannianGradient": (lambda w, g: step(learning.RiemannianGradient(), w, g), [WEIGHTS, WEIGHTS]),
    "geodesic_step": (lambda p, x, s: simplex.geodesic_step(p, x, scale=s), [WEIGHTS, WEIGHTS, SECOND]),
    "fit_weights": (lambda l, t: gpulaf.fit_weights(l, t, steps=1).weights, [FIELD, TRUTH]),
    "distances": (labeling.distances, [IMAGE, PROTOTYPES]),
    "label": (lambda i, p, w: gpulaf.label(i, p, weights=w).labels, [IMAGE, PROTOTYPES, WEIGHTS]),
    "refine": (lambda p, w: gpulaf.refine(p, weights=w).labels, [simplex.softmax(FIELD).swapaxes(1, 2), WEIGHTS]),
    "predict_weights": (lambda f: prediction.predict_weights(PARAMETERS, f), [FEATURES]),
    "predict_weights, prototypes": (of_prototypes, [PARAMETERS.feature_prototypes]),
    "predict_weights, tangents": (of_tangents, [PARAMETERS.tangents]),
    "prediction_gradient": (
        lambda f, g: prediction.prediction_gradient(PARAMETERS, f, g).tangents, [FEATURES, WEIGHTS],
    ),
    "confusion_matrix": (lambda t, l: prediction.confusion_matrix(t, l, J), [TRUTH, LABELS]),
    "region_means": (averaging.region_means, [IMAGE, LABELS]),
}  # fmt: skip

#: Axes (call, argument, axis) of any length, as no other argument says it: labels, pixels, rows of prototypes.
FREE = {
    ("LinearFlow", 1, 1), ("LinearFlow.chain", 2, 0), ("LinearFlow on a graph", 0, 0), ("AssignmentFlow", 1, 1),
    ("Grid.apply", 1, 1), ("Grid.similarity", 0, 1), ("Graph.apply", 0, 0), ("wrong_share", 0, 1),
    ("cross_entropy_loss of pixels", 0, 1), ("BoundaryLoss", 0, 1), ("ConnectivityLoss", 0, 1),
    ("fit_weights", 0, 1), ("distances", 0, 0), ("distances", 0, 1), ("distances", 1, 0),
    ("label", 1, 0), ("refine", 0, 2), ("predict_weights", 0, 0), ("predict_weights", 0, 2), ("region_means", 0, 2),
    ("region_means", 0, 3),
}  # fmt: skip


#: Calls that take arrays of any such shape.
ANY = {"normalize_weights", "nearest_neighbor_graph", "kmeans_prototypes", "log_likelihood", "weight_regularizer"}


def wrong_shapes(name, place, array):
    """The array with another length of one axis, an axis more or less, or nothing in it."""
    if name in ANY:
        yield array[:0]
        return
    if (name, place, array.ndim) not in FREE:
        yield array[..., None]
    yield array.ravel() if array.ndim > 1 else array.reshape(1, -1)
    yield array[:0]
    for axis in range(array.ndim):
        if (name, place, axis) in FREE:
            continue
        yield np.repeat(array, 2, axis=axis)
        if array.shape[axis] > 2:
            yield np.delete(array, 0, axis=axis)
            yield np.take(array, [0], axis=axis)  # which would be stretched to any length


def wrong_dtypes(name, array):
    """The array in dtypes that hold no real numbers, and what is no array."""
    yield array.astype(np.complex64)
    yield array.astype(object)
    yield array.astype(str)
    if not name.startswith("Grid."):  # a method of Ω trusts that there is an array
        yield "labels"
        yield {}


WRONG = [
    (name, place, wrong)
    for name, (_, arguments) in CALLS.items()
    for place, array in enumerate(arguments)
    for wrong in [*wrong_shapes(name, place, array), *wrong_dtypes(name, array)]
]


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_work_with_what_they_are_made_for(name):
    function, arguments = CALLS[name]
    assert function(*arguments) is not None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(WRONG))
def test_arguments_that_do_not_fit_are_refused(case):
    name, place, wrong = case
    function, arguments = CALLS[name]
    with pytest.raises((ValueError, TypeError)) as refusal:
        function(*[wrong if k == place else x for k, x in enumerate(arguments)])
    assert re.search("accepted|Pass|Give|Convert|Replace", str(refusal.value)), (name, refusal.value)


CSR = {
    "beyond the last node": {"indices": [0, 1, 2, 4]},
    "far beyond": {"indices": [0, 1, 2, 2**31 - 1]},
    "before the first node": {"indices": [0, -1, 2, 3]},
    "unsorted": {"indptr": [0, 2, 1, 3, 4]},
    "from another place": {"indptr": [1, 1, 2, 3, 4]},
    "past the weights": {"indptr": [0, 1, 2, 3, 5]},
    "before the end": {"indptr": [0, 1, 2, 3, 3]},
    "negative": {"indptr": [0, -5, 2, 3, 4]},
}


@pytest.mark.parametrize("parts", CSR.values(), ids=CSR)
@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_a_graph_never_leads_out_of_its_matrix(parts, kind):
    matrix = kind(np.eye(4))
    for name, numbers in parts.items():
        getattr(matrix, name)[:] = numbers
    with pytest.raises(ValueError, match=f"{next(iter(parts))}.*accepted"):
        gpulaf.Graph(matrix)


def test_a_graph_whose_parts_differ_in_length():
    matrix = scipy.sparse.csr_array(np.eye(4))
    matrix.indices = matrix.indices[:3]
    with pytest.raises(ValueError, match="4 weights and 3 indices"):
        gpulaf.Graph(matrix)
    matrix = scipy.sparse.csr_array(np.eye(4))
    matrix.indptr = matrix.indptr[:-1]
    with pytest.raises(ValueError, match="accepted are 5 numbers"):
        gpulaf.Graph(matrix)


def test_a_graph_with_indices_in_any_order_is_the_same():
    """Unsorted and repeated columns lead nowhere else."""
    dense = np.array([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])
    data, indices = np.array([0.75, 0.25, 1.0, 0.25, 0.5, 0.125, 0.125]), np.array([1, 0, 1, 2, 0, 1, 1])
    graph = gpulaf.Graph(scipy.sparse.csr_array((data, indices, np.array([0, 2, 3, 7])), shape=(3, 3)))
    field = RNG.standard_normal((2, 3))
    np.testing.assert_allclose(graph.apply(field), field @ dense.T)
    np.testing.assert_allclose(graph.adjoint(field), field @ dense)


LOSSES = [gpulaf.cosine_loss, gpulaf.cross_entropy_loss, learning.BoundaryLoss(), learning.ConnectivityLoss()]


@pytest.mark.parametrize("loss", [*LOSSES, learning.wrong_share])
@pytest.mark.parametrize(
    ("truth", "error", "said"),
    [
        (TRUTH.astype(float), TypeError, "float64; accepted are integers"),
        (np.where(TRUTH == 0, J, TRUTH), ValueError, "from -1 to 3; accepted are 0 to 2"),
        (np.where(TRUTH == 0, 2**31, TRUTH), ValueError, "to 2147483648; accepted"),
        (np.full((H, W), 255, np.uint8), ValueError, "from 255 to 255; .* void pixels -1"),
        (np.where(TRUTH == 0, -2, TRUTH), ValueError, "from -2"),
        (TRUTH.T, ValueError, r"\(7, 5\); accepted is \(5, 7\)"),
        (1, ValueError, r"shape \(\)"),
        (None, TypeError, "object"),
    ],
)
def test_truths_that_are_none(loss, truth, error, said):
    with pytest.raises(error, match=said):
        loss(FIELD, truth)


def test_truths_of_any_integer_type():
    truth = TRUTH.clip(0)
    expected = gpulaf.cosine_loss(FIELD, truth)
    for same in (truth.astype(np.uint8), truth.astype(np.int64), truth.tolist(), np.asfortranarray(truth)):
        assert gpulaf.cosine_loss(FIELD, same).value == expected.value
    two = gpulaf.cosine_loss(FIELD[:, :2], truth > 0)
    assert two.value == gpulaf.cosine_loss(FIELD[:, :2], (truth > 0).astype(int)).value


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, bool])
def test_masked_truths_are_unlabeled_there(dtype):
    labels, hidden = (TRUTH > 0).astype(dtype), RNG.random((H, W)) < 0.4
    masked = np.ma.MaskedArray(labels, hidden)
    for loss in (gpulaf.cosine_loss, gpulaf.cross_entropy_loss):
        found, expected = loss(FIELD, masked), loss(FIELD, np.where(hidden, -1, labels.astype(int)))
        assert found.value == expected.value
        np.testing.assert_array_equal(found.derivative, expected.derivative)


@pytest.mark.parametrize("name", ["LinearFlow", "LinearFlow.A", "geodesic_step", "distances", "predict_weights"])
def test_masks_that_loops_would_not_see(name):
    function, (first, *others) = CALLS[name]
    with pytest.raises(TypeError, match="MaskedArray; accepted"):
        function(np.ma.MaskedArray(first, first > 0), *others)


def test_losses_of_half_precision_keep_the_class_weights():
    """They were rounded to the dtype of v, integers included, before v was converted."""
    counts = np.array([1.0, 1.0 + 2**-20, 3.0])
    half = FIELD.astype(np.float16)
    single = gpulaf.cosine_loss(half.astype(np.float32), TRUTH, class_weights=counts)
    assert gpulaf.cosine_loss(half, TRUTH, class_weights=counts).value == single.value
    with pytest.raises(TypeError, match="int64; accepted are floating"):
        gpulaf.cosine_loss(FIELD.astype(int), TRUTH)


@pytest.mark.parametrize("batch", [-1, 2, 0.5])
def test_batches_that_are_none(batch):
    with pytest.raises(ValueError, match=f"batch is {batch}; accepted are 0 to 1"):
        gpulaf.cosine_loss(FIELD, TRUTH, batch=batch)


def test_a_state_of_other_weights():
    descent = learning.RiemannianAdam()
    with pytest.raises(ValueError, match="first of the state has shape"):
        descent.update(WEIGHTS, WEIGHTS, descent.start(gpulaf.uniform_weights((W, H))), 0)
    with pytest.raises(ValueError, match=r"holds \[\]; accepted is \['first', 'second'\]"):
        descent.update(WEIGHTS, WEIGHTS, {}, 0)


def test_a_solution_of_another_flow():
    other = flow(gpulaf.uniform_weights((W, H)), np.ascontiguousarray(FIELD.swapaxes(0, 2)))
    for solver in (integrators.Taylor(), integrators.Krylov(), integrators.Euler(steps=3)):
        with pytest.raises(ValueError, match="a solution of this flow"):
            flows.weight_gradient(flow(), solver.solve(other, 1.0), FIELD)
    two, three = flows.DeepFlow(WEIGHTS, [1.0, 1.0]), flows.DeepFlow(WEIGHTS, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="3 layers, the flow 2"):
        two.gradient(three.solve(FIELD), FIELD)


def test_results_are_never_written_to_what_may_only_be_read():
    constant = np.frombuffer(bytes(FIELD.nbytes), np.float32).reshape(FIELD.shape)
    for product in (flow().A, flow().At):
        with pytest.raises(ValueError, match="may only be read"):
            product(FIELD, out=constant)
    assert not constant.any()


@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1e-200, 1e153, 1e155, 1e200, 1e307])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_prototypes_of_numbers_whose_squares_are_none(unit, channels):
    pixels = np.repeat(np.array([1.0, 3.0, 8.0, 9.0])[:, None] * np.ones(channels), 10, axis=0)[None]
    found = labeling.kmeans_prototypes(pixels * unit, 3)
    expected = [1.0, 3.0, 8.0] if unit == 5e-324 else [1.0, 3.0, 8.5]  # halves of the smallest number there are none
    np.testing.assert_allclose(np.sort(found[:, 0]) / unit, expected, rtol=1e-12)


def test_prototypes_do_not_depend_on_the_unit():
    pixels = RNG.random((40, 30, 3))
    for unit in (2.0**-900, 2.0**-20, 2.0**900):
        expected = labeling.kmeans_prototypes(pixels, 5)
        np.testing.assert_array_equal(labeling.kmeans_prototypes(pixels * unit, 5), expected * unit)


def test_prototypes_where_distances_vanish_beside_the_largest():
    """Three pixels differ by numbers whose squares are 0 beside the square of the fourth."""
    pixels = np.array([0.0, 1e-200, 2e-200, 1.0]).repeat(5)[None, :, None]
    found = labeling.kmeans_prototypes(pixels, 3)
    assert found.shape == (3, 1)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("sigma", [None, 0.3])
@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-600, 2.0**600, 2.0**1000])
def test_nearest_neighbors_of_numbers_whose_squares_are_none(unit, sigma):
    points = RNG.random((30, 2))
    expected = averaging.nearest_neighbor_graph(points, 4, sigma=sigma).matrix
    found = averaging.nearest_neighbor_graph(points * unit, 4, sigma=sigma and sigma * unit).matrix
    np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prototypes_of_what_is_no_number(value):
    pixels = IMAGE.copy()
    pixels[2, 3] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        labeling.kmeans_prototypes(pixels, 2)


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e17), (np.float32, 1e30), (np.float64, 1e155)])
def test_numbers_whose_squares_are_none_are_named(dtype, value):
    """The flow said that it overflows, and to take a shorter time."""
    image = IMAGE.astype(dtype)
    with pytest.raises(ValueError, match=rf"prototypes hold values from 0 to {value:.4g}".replace("+", r"\+")):
        gpulaf.label(image, [[0.0, 0.0], [value, 1.0]])
    image[0, 0] = value
    with pytest.raises(ValueError, match=rf"image holds values from .* to {value:.4g}".replace("+", r"\+")):
        gpulaf.label(image, PROTOTYPES)


@pytest.mark.parametrize(("labels", "sample"), [(0, 10), (-1, 10), (2.5, 10), (2, 0), (2, -5)])
def test_numbers_of_prototypes_that_are_none(labels, sample):
    with pytest.raises(ValueError, match="accepted are whole numbers from 1"):
        labeling.kmeans_prototypes(IMAGE, labels, sample=sample)


@pytest.mark.slow
@pytest.mark.skipif(not available, reason="Numba is not installed or switched off")
def test_no_kernel_leaves_its_arrays(tmp_path):
    """On odd sizes, and on values that are huge, infinite or NaN; labels out of range included."""
    program = Path(__file__).parent / "kernels" / "bounds.py"
    root = str(Path(gpulaf.__file__).parents[1])
    options = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": root}
    command = [sys.executable, program]
    run = subprocess.run(command, env=os.environ | options, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 1000
