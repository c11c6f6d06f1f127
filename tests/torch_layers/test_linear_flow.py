"""Flows of tensors: against dense matrices, central differences, and backpropagation through the same series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import dense_average, dense_remaining, dense_solution, random_problem, relative, tol

from gpulaf import Taylor
from gpulaf.averaging import mask_weights

torch = pytest.importorskip("torch", reason="needs the extra torch")

from gpulaf.torch import linear_flow, plain_flow, weights_from_logits  # noqa: E402
from gpulaf.torch.arrays import as_array, as_tensor  # noqa: E402
from gpulaf.torch.patches import as_rows  # noqa: E402

EXACT = Taylor(tol=1e-12)
SIZES = {"image": {}, "5×5": {"radius": 2}, "volume": {"depth": 3, "height": 3, "width": 4}}


def batch(images: int = 2, dtype: Any = np.float64, **size: Any) -> tuple[list[Any], Any, Any]:
    """Problems, and their weights (B, N, H, W) and log-likelihoods (B, J, H, W)."""
    problems = [random_problem(seed=seed, **size) for seed in range(images)]
    stacks = (np.stack([getattr(p, name) for p in problems]) for name in ("weights", "log_likelihood"))
    weights, l = (torch.tensor(planes(x).astype(dtype)) for x in stacks)
    return problems, weights, l


def planes(rows: np.ndarray) -> np.ndarray:
    """(B, H, J, W) to (B, J, H, W)."""
    return np.ascontiguousarray(np.moveaxis(rows, -2, 1))


def learned(*tensors: Any) -> list[Any]:
    return [x.clone().requires_grad_() for x in tensors]


@pytest.mark.parametrize("time", [0.5, 3.0, 7.0])
@pytest.mark.parametrize("size", SIZES)
def test_solutions_are_those_of_the_dense_exponential(dtype: Any, size: str, time: float) -> None:
    problems, weights, l = batch(dtype=dtype, **SIZES[size])
    expected = planes(np.stack([dense_solution(p, time) for p in problems]))
    solver = Taylor(tol=1e-12 if dtype == np.float64 else 1e-7)
    for flow in (linear_flow, plain_flow):
        v = flow(weights, l, time, solver=solver)
        assert v.dtype == l.dtype
        assert relative(v.numpy(), expected) < tol(dtype)
    rows = linear_flow(as_rows(weights, "planes"), as_rows(l, "planes"), time, solver=solver, layout="rows")
    assert torch.equal(rows.movedim(-2, 1), linear_flow(weights, l, time, solver=solver))


def test_the_default_tolerance_is_kept() -> None:
    problems, weights, l = batch()
    expected = planes(np.stack([dense_solution(p, 3.0) for p in problems]))
    assert relative(linear_flow(weights, l, 3.0).numpy(), expected) < 1e-4


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", ["planes", "rows"])
@pytest.mark.parametrize("time", [2.5, 6.0])  # one series, and two in succession
def test_derivatives_in_weights_data_and_time(size: str, layout: str, time: float) -> None:
    _, *operands = batch(height=3, width=4, depth=2 if size == "volume" else None, radius=1 + (size == "5×5"))
    if layout == "rows":
        operands = [as_rows(x, "planes") for x in operands]
    T = torch.tensor(time, dtype=torch.float64)

    def flow(*x: Any) -> Any:
        return linear_flow(*x, solver=EXACT, layout=layout)

    assert torch.autograd.gradcheck(flow, learned(*operands, T), fast_mode=True)
    if size == "image":
        assert torch.autograd.gradcheck(flow, learned(*operands, T))


def test_derivatives_of_logits_under_a_mask() -> None:
    _, weights, l = batch(height=4, width=4)
    mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.3

    def flow(z: Any, l: Any) -> Any:
        return linear_flow(weights_from_logits(z, mask=mask), l, 2.0, solver=EXACT, mask=mask)

    assert torch.autograd.gradcheck(flow, learned(torch.randn_like(weights), l))

    def given(w: Any, l: Any) -> Any:  # moved from where patches sum to 1, as gradcheck does
        return linear_flow(w, l, 2.0, solver=EXACT, mask=mask)

    assert torch.autograd.gradcheck(given, learned(torch.where(weights > 0, weights + 1e-4, weights), l))


def test_shared_weights_sum_the_derivatives_of_all_images() -> None:
    _, weights, l = batch(3)
    shared, data = learned(weights[:1], l)
    v = linear_flow(shared, data, 3.0)
    v.pow(3).sum().backward()
    every, own = learned(weights[:1].expand(3, -1, -1, -1), l)
    linear_flow(every, own, 3.0).pow(3).sum().backward()
    assert relative(shared.grad.numpy(), every.grad.sum(0, keepdim=True).numpy()) < 1e-12
    assert torch.equal(data.grad, own.grad)


@pytest.mark.parametrize("solver", [Taylor(1), Taylor(7), Taylor(5, substeps=3)])
def test_the_gradient_is_that_of_backpropagation_through_the_series(dtype: Any, solver: Taylor) -> None:
    _, weights, l = batch(dtype=dtype, labels=4, height=9, width=13)
    found = []
    for flow in (linear_flow, plain_flow):
        operands = learned(weights, l)
        flow(*operands, 3.0, solver=solver).pow(3).sum().backward()
        found.append([x.grad.numpy() for x in operands])
    inside = (weights > 0).numpy()  # beyond the border the plain operations see zeros, the closed form nothing
    assert relative(found[0][0], np.where(inside, found[1][0], 0)) < tol(dtype)
    assert relative(found[0][1], found[1][1]) < tol(dtype)


def test_one_operand_alone_has_a_derivative_and_the_bits_repeat() -> None:
    _, weights, l = batch(labels=4, height=20, width=30)
    both = learned(weights, l)
    linear_flow(*both, 3.0).exp().sum().backward()
    for k in (0, 1):
        operands = [weights, l]
        operands[k] = operands[k].clone().requires_grad_()
        linear_flow(*operands, 3.0).exp().sum().backward()
        assert torch.equal(operands[k].grad, both[k].grad)


def test_a_second_derivative_is_refused() -> None:
    operands = learned(*batch()[1:])
    (first,) = torch.autograd.grad(linear_flow(*operands, 3.0).exp().sum(), operands[0], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        first.sum().backward()


# --- masks ------------------------------------------------------------------------------------------------------------


def test_a_mask_leaves_the_flow_on_the_valid_pixels(dtype: Any) -> None:
    problems, weights, l = batch(dtype=dtype, height=5, width=6)
    mask = np.random.default_rng(2).random((2, 5, 6)) > 0.35
    data = l.clone()
    data.movedim(1, -1)[~torch.tensor(mask)] = torch.tensor([float("nan"), float("inf"), 0.0], dtype=l.dtype)
    operands = learned(weights, data)
    v = linear_flow(*operands, 2.0, solver=EXACT, mask=torch.tensor(mask))
    for k, problem in enumerate(problems):
        valid = mask[k].ravel()
        omega = dense_average(mask_weights(problem.weights, mask[k]))
        ell = np.moveaxis(problem.log_likelihood, -2, -1).reshape(-1, 3)
        expected = dense_remaining(ell, omega, valid, 2.0)
        found = torch.softmax(v[k], dim=0).movedim(0, -1).reshape(-1, 3).detach().numpy()
        assert relative(found[valid], expected) < tol(dtype)
        assert np.all(v[k].movedim(0, -1).reshape(-1, 3).detach().numpy()[~valid] == 0)
    v.exp().sum().backward()
    for x in operands:
        assert torch.isfinite(x.grad).all()
        assert (x.grad.movedim(1, -1)[~torch.tensor(mask)] == 0).all()


def test_masked_weights_are_those_of_arrays() -> None:
    problems, weights, _ = batch(height=6, width=7)
    mask = np.random.default_rng(3).random((2, 6, 7)) > 0.5
    logits = torch.log(weights)  # −∞ outside
    found = weights_from_logits(torch.where(weights > 0, logits, torch.zeros_like(logits)), mask=torch.tensor(mask))
    expected = np.stack([mask_weights(p.weights, m) for p, m in zip(problems, mask, strict=True)])
    assert relative(found.numpy(), planes(expected)) < 1e-12


@pytest.mark.parametrize("size", SIZES)
def test_weights_from_logits_are_patches(dtype: Any, size: str) -> None:
    _, weights, _ = batch(dtype=dtype, **SIZES[size])
    logits = torch.where(weights > 0, torch.log(weights), torch.full_like(weights, 30.0)) + 5.0
    found = weights_from_logits(logits)
    assert found.dtype == weights.dtype
    assert relative(found.numpy(), weights.numpy()) < tol(dtype)
    assert torch.all(found[weights == 0] == 0)


# --- precision and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(half: str) -> None:
    half = getattr(torch, half)
    _, weights, l = batch(dtype=np.float32, height=8, width=8)
    logits = torch.randn_like(weights).to(half)
    found = []
    for z, x in ((logits, l.to(half)), (logits.float(), l.to(half).float())):
        z, x = learned(z, x)
        v = linear_flow(weights_from_logits(z), x, 3.0)
        assert v.dtype == x.dtype
        v.float().square().sum().backward()
        found.append((v, z.grad, x.grad))
    assert torch.equal(found[0][0], found[1][0].to(half))
    eps = torch.finfo(half).eps
    for mine, wide in zip(found[0][1:], found[1][1:], strict=True):
        assert mine.dtype == half
        assert relative(mine.float().numpy(), wide.numpy()) < 8 * eps
    assert linear_flow(weights_from_logits(logits).to(half), l.to(half), 3.0).dtype == half
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear_flow(weights, l, 3.0), linear_flow(weights, l, 3.0))
        assert linear_flow(weights, l, 3.0).dtype == torch.float32


def test_rows_and_arrays_share_memory() -> None:
    rows = as_rows(batch()[2], "planes")
    assert as_rows(rows, "rows").data_ptr() == rows.data_ptr()
    assert as_array(rows).ctypes.data == rows.data_ptr()
    assert as_tensor(as_array(rows)).data_ptr() == rows.data_ptr()
    weights = weights_from_logits(torch.zeros(2, 9, 4, 5))
    assert as_rows(weights, "planes").data_ptr() == weights.data_ptr()
    assert linear_flow(*learned(*batch()[1:]), 3.0).untyped_storage().nbytes() == rows.untyped_storage().nbytes()


@pytest.mark.parametrize("learn_time", [False, True])
def test_the_backward_pass_keeps_the_operands_alone(learn_time: bool) -> None:
    _, weights, l = batch(height=16, width=16)
    weights, l = (as_rows(x, "planes").requires_grad_() for x in (weights, l))
    T, held = torch.tensor(3.0, requires_grad=learn_time), {}

    def keep(x: Any) -> Any:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        v = linear_flow(weights, l, T, layout="rows")
    expected = {x.data_ptr() for x in (weights, l, T)} | ({v.data_ptr()} if learn_time else set())
    kept = {at: size for at, size in held.items() if size > 8}
    assert set(kept) == {at for at in expected if at != T.data_ptr()}


def test_what_is_not_finite_shows() -> None:
    _, weights, l = batch()
    l[0, 0, 0, 0] = float("nan")
    v = linear_flow(weights, l, 3.0)
    assert torch.isnan(v[0]).any()
    assert torch.isfinite(v[1]).all()


# --- errors -----------------------------------------------------------------------------------------------------------

W, L = torch.full((2, 9, 4, 5), 1 / 9), torch.zeros(2, 3, 4, 5)
FIT = weights_from_logits(W)


@pytest.mark.parametrize(
    ("operands", "options", "error", "words"),
    [
        ((W, L, 3.0), {}, ValueError, r"point outside the image with 0\.111.*weights_from_logits"),
        ((10 * W, L, 3.0), {}, ValueError, r"sum to 10 in a patch.*weights_from_logits"),
        ((FIT[:, :8], L, 3.0), {}, ValueError, r"8 neighbors; accepted are \(2r\+1\)²"),
        ((FIT, L[..., :4], 3.0), {}, ValueError, r"\(2, 9, 4, 5\), the log-likelihood \(2, 3, 4, 4\)"),
        ((FIT, L[0], 3.0), {}, ValueError, r"shape \(3, 4, 5\); accepted are \(B, J, H, W\)"),
        ((FIT, L.repeat(2, 1, 1, 1), 3.0), {}, ValueError, "weights of one image for all"),
        ((FIT, L.repeat(2, 1, 1, 1), 3.0), {"layout": "rows"}, ValueError, "accepted are"),
        ((FIT, L, 3.0), {"layout": "nchw"}, ValueError, "layout is 'nchw'; accepted are 'planes'"),
        ((FIT, L, -1.0), {}, ValueError, "time is -1.0; accepted are positive"),
        ((FIT, L, torch.ones(2)), {}, ValueError, r"tensor of shape \(2,\); accepted is one number"),
        ((FIT.numpy(), L, 3.0), {}, TypeError, "weights is of ndarray; accepted is a floating tensor"),
        ((FIT, L.int(), 3.0), {}, TypeError, r"log_likelihood is of torch\.int32"),
        ((FIT, L.to("meta"), 3.0), {}, TypeError, "log-likelihood on meta; accepted is cpu or cuda"),
        ((FIT, L, 3.0), {"solver": 5}, TypeError, "solver is 5; accepted is Taylor"),
        ((FIT, L, 3.0), {"mask": torch.ones(2, 5, 4).bool()}, ValueError, r"\(2, 5, 4\); accepted is torch\.bool"),
        ((FIT, L, 3.0), {"mask": torch.ones(2, 4, 5)}, ValueError, r"mask is a tensor of torch\.float32"),
    ],
)
def test_errors_say_what_is_accepted(operands: Any, options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        linear_flow(*operands, **options)
    assert "\n" not in str(raised.value)
