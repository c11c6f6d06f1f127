"""Modules: several flows against those of arrays, learned times, the flows of a fitted network, a training."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from oracles import random_problem, relative, tol

import gpulaf
from gpulaf import Taylor, WeightNetwork
from gpulaf.flows import DeepFlow
from gpulaf.prediction.network import starting_network

torch = pytest.importorskip("torch", reason="needs the extra torch")

from gpulaf.torch import (  # noqa: E402
    DeepAssignmentFlow,
    LinearizedAssignmentFlow,
    NetworkFlow,
    linear_flow,
    weights_from_logits,
)
from gpulaf.torch.patches import as_rows  # noqa: E402

TIMES = [1.0, 0.5, 2.0]


def operands(dtype: Any = np.float64, count: int = 3, images: int = 2) -> tuple[list[Any], Any]:
    """Rows of weights of each layer and of log-likelihoods."""
    made = [[random_problem(seed=10 * s + i) for i in range(images)] for s in range(count)]
    weights = [torch.tensor(np.stack([p.weights for p in each]).astype(dtype)) for each in made]
    return weights, torch.tensor(np.stack([p.log_likelihood for p in made[0]]).astype(dtype))


@pytest.mark.parametrize("shared", [False, True])
def test_layers_are_those_of_arrays(dtype: Any, shared: bool) -> None:
    weights, l = operands(dtype)
    solver = Taylor(tol=1e-12 if dtype == np.float64 else 1e-6)
    own = weights[0] if shared else weights
    deep = DeepFlow(own.numpy() if shared else [x.numpy() for x in own], TIMES, solver=solver)
    solution = deep.solve(l.numpy(), keep_states=True)
    g = np.random.default_rng(1).standard_normal(l.shape).astype(dtype)
    gradient = deep.gradient(solution, g, times=True)

    module = DeepAssignmentFlow(TIMES, learn_time=True, solver=solver, layout="rows")
    leaves = [x.requires_grad_() for x in ([own] if shared else own)]
    v = module(own, l.requires_grad_())
    v.backward(torch.tensor(g))
    assert relative(v.detach().numpy(), solution.v) < tol(dtype)
    for leaf, expected in zip(leaves, gradient.weights, strict=True):
        assert relative(leaf.grad.numpy(), expected) < tol(dtype)
    assert relative(l.grad.numpy(), gradient.log_likelihood) < tol(dtype)
    assert relative(module.log_times.grad.numpy(), np.array(gradient.times) * TIMES) < tol(np.float32)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_derivatives_by_central_differences(kind: str) -> None:
    weights, l = operands()
    times = [2.0] if kind == "one" else TIMES
    module = DeepAssignmentFlow(times, learn_time=True, solver=Taylor(tol=1e-12), layout="rows").double()
    leaves = [x.requires_grad_() for x in (*weights[: len(times)], l)]

    def flow(logs: Any, l: Any, *own: Any) -> Any:
        return torch.func.functional_call(module, {"log_times": logs}, (own, l))

    assert torch.autograd.gradcheck(flow, (module.log_times, leaves[-1], *leaves[:-1]))


def test_one_flow_is_the_function() -> None:
    weights, l = operands(np.float32)
    module = LinearizedAssignmentFlow(2.5, layout="rows")
    assert torch.equal(module(weights[0], l), linear_flow(weights[0], l, 2.5, layout="rows"))
    planes = LinearizedAssignmentFlow(2.5)(weights[0].movedim(-2, 1), l.movedim(-2, 1))
    assert torch.equal(planes, module(weights[0], l).movedim(-2, 1))
    assert not module.state_dict()
    assert repr(module) == (
        "LinearizedAssignmentFlow(times=[2.5], solver=Taylor(degree=None, tol=0.0001, substeps=None), layout='rows')"
    )


def test_half_precision_is_summed_in_single() -> None:
    weights, l = operands(np.float32)
    half = l.bfloat16()
    module = DeepAssignmentFlow(TIMES, layout="rows")
    v = module(weights, half)
    assert v.dtype == torch.bfloat16
    assert torch.equal(v, module(weights, half.float()).bfloat16())


def test_times_are_stored_and_stay_positive() -> None:
    first, second = (DeepAssignmentFlow(times, learn_time=True) for times in (TIMES, [3.0, 3.0, 3.0]))
    second.load_state_dict(first.state_dict())
    assert second.times.tolist() == pytest.approx(TIMES)
    assert "times=[1.0, 0.5, 2.0], learned" in repr(second)
    with torch.no_grad():
        first.log_times -= 100.0
    assert (first.times > 0).all()


def test_errors_of_modules() -> None:
    weights, l = operands()
    with pytest.raises(ValueError, match="there are 2 weights and 3 times; accepted are as many"):
        DeepAssignmentFlow(TIMES, layout="rows")(weights[:2], l)
    with pytest.raises(ValueError, match=r"time is 0\.0; accepted are positive"):
        LinearizedAssignmentFlow(0.0)
    with pytest.raises(ValueError, match="accepted"):
        DeepAssignmentFlow([])


class Fitted:
    """A fitted network without a training: random numbers in every place."""

    solver, times, reader = Taylor(tol=1e-6), [1.5, 2.0], None

    def __init__(self, reach: int, correction: bool) -> None:
        given = {"stages": 2, "radius": 1, "reach": reach, "correction": correction}
        start = starting_network(np.zeros(4), 3, hidden=(6, 5), seed=0, **given)
        network = start.moved(0.4 * np.random.default_rng(1).standard_normal(start.vector.size))
        network.clocks[:] = 0
        self.network_ = network


CASES = [*itertools.product((-1, 1), (False, True), (False,)), (1, True, True)]


@pytest.mark.parametrize(("reach", "correction", "masked"), CASES)
def test_the_flows_of_a_network(reach: int, correction: bool, masked: bool) -> None:
    predictor = Fitted(reach, correction)
    rng = np.random.default_rng(2)
    features = rng.standard_normal((2, 7, 4, 8)).astype(np.float32)
    l = rng.standard_normal((2, 7, 3, 8)).astype(np.float32)
    valid = rng.random((2, 7, 8)) > 0.2
    expected = []
    for k in range(2):
        given = valid[k] if masked else None
        data = np.where(valid[k][:, None, :], l[k], 0) if masked else l[k]
        bound = predictor.network_.bound(features[k], given)
        expected.append(bound.flow(predictor.times, predictor.solver).solve(data).v)
    module = NetworkFlow(predictor)
    mask = torch.tensor(valid) if masked else None
    if masked:
        l = np.where(valid[:, :, None, :], l, 0)
    v = module(torch.tensor(features).movedim(-2, 1), torch.tensor(l).movedim(-2, 1), mask)
    assert relative(as_rows(v, "planes").detach().numpy(), np.stack(expected)) < 1e-5
    v.square().sum().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in module.parameters())


@pytest.mark.parametrize("soft", [False, True])
def test_a_fitted_network_labels_as_its_module(soft: bool) -> None:
    scenes = [gpulaf.scenes.voronoi_lines(32, sites=6, seed=seed) for seed in range(3)]
    options = {"label_state": 2, "label_hidden": (4,), "state": None} if soft else {}
    network = WeightNetwork((8,), features="patch:1", n_layers=2, **options).set_params(training__steps=3)
    p = [np.random.default_rng(k).dirichlet([1, 1], (32, 32)).astype(np.float32) for k in range(3)]
    given = {"probabilities": p[:2]} if soft else {}
    network.fit([s.image for s in scenes[:2]], [s.truth for s in scenes[:2]], **given, progress=False)
    image = scenes[2].image.astype(np.float32)
    module = NetworkFlow(network, layout="rows")
    v = module(*module.inputs(image, p[2] if soft else None))
    found = torch.softmax(v[0], dim=-2).detach().numpy()
    expected = (network.refine(image, p[2]) if soft else network.label(image)).probabilities
    assert relative(np.moveaxis(found, -2, -1), expected) < 1e-4


def test_a_network_that_couples_labels_is_refused() -> None:
    scene = gpulaf.scenes.voronoi_lines(32, sites=6)
    network = WeightNetwork((8,), features="patch:1", n_layers=1, label_coupling=True)
    network.set_params(training__steps=1).fit([scene.image], [scene.truth], progress=False)
    with pytest.raises(ValueError, match="the network has label_coupling; accepted are those without"):
        NetworkFlow(network)


def test_weights_of_an_image_are_learned() -> None:
    scene = gpulaf.scenes.voronoi_lines(48, sites=8, noise=0.3, seed=0)
    values = torch.tensor([0.0, 1.0])[:, None, None]
    data = -((torch.tensor(scene.image[..., 0], dtype=torch.float32) - values) ** 2) / 0.2
    bright = int(scene.prototypes[1, 0] > scene.prototypes[0, 0])
    data = (data if bright else data.flip(0))[None]
    truth = torch.tensor(scene.truth, dtype=torch.long)[None]
    logits = torch.zeros(1, 9, 48, 48, requires_grad=True)
    flow = LinearizedAssignmentFlow(3.0, learn_time=True)
    optimizer = torch.optim.Adam([logits, *flow.parameters()], 0.2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(flow(weights_from_logits(logits), data), truth)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
