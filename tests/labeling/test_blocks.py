"""Images in blocks: bit for bit what the flow on the whole image gives, wherever blocks end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpulaf import DormandPrince, Euler, Grid, Krylov, Labeler, Taylor, label, refine, uniform_weights
from gpulaf.averaging import BilateralWeights, normalize_weights
from gpulaf.averaging.patches import check_weights
from gpulaf.backend import memory
from gpulaf.labeling import blocks as module
from gpulaf.labeling.blocks import blocks

SHAPE = (150, 201)
RNG = np.random.default_rng(0)
IMAGE, SOFT = RNG.random((*SHAPE, 3)), RNG.dirichlet(np.ones(3), SHAPE)
COLORS = np.array([[0.3, 0.5, 0.6], [0.5, 0.5, 0.4], [0.6, 0.4, 0.5]])  # of noise: many pixels are nearly even
MASK = RNG.random(SHAPE) < 0.9
MASK[20:90, 60:140] = False  # a whole block has no data
WIDE = uniform_weights(SHAPE, 2, dtype=np.float64)
RANDOM = normalize_weights(RNG.random((SHAPE[0], 9, SHAPE[1])))


class Layers(BilateralWeights):
    """Weights of two layers."""

    def __call__(self, features: Any) -> list[Any]:
        return [BilateralWeights(sigma)(features) for sigma in (0.1, 0.4)]


class Far(BilateralWeights):
    """Weights that say nothing of how far they look."""

    reach = None  # type: ignore[assignment]


def in_both_ways(monkeypatch: pytest.MonkeyPatch, run: Any) -> tuple[Any, Any, list[Any]]:
    """A run in blocks, at once, and the blocks."""
    used: list[Any] = []
    monkeypatch.setattr(module, "blocks", lambda *options: used.extend(blocks(*options)) or used)
    monkeypatch.setattr(memory, "BLOCK", 1.0)
    monkeypatch.setattr(memory, "HALOS", 6)
    parts = run()
    monkeypatch.setattr(memory, "BLOCK", 1e12)
    return parts, run(), used


def check_same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.valid, other.valid)
    for x, y in zip(one[:2], other[:2], strict=True):
        assert x.dtype == y.dtype
        assert x.strides == y.strides
    assert one[3:6] == other[3:6]
    assert 0.5 * other.error < one.error < 2 * other.error


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": Taylor(tol=1e-2), "time": 9.0},
        {"solver": Euler(5)},
        {"weights": BilateralWeights()},
        {"weights": BilateralWeights(0.2, 2), "time": 1.0},
        {"weights": Layers(), "time": [1.0, 1.5]},
        {"weights": RANDOM},
        {"weights": Grid(RANDOM)},
        {"weights": [RANDOM, None, WIDE], "time": [0.5, 1.0, 0.5], "solver": Taylor(3, substeps=1)},
        {"spacing": (2.0, 1.0)},
    ],
    ids=lambda options: "-".join(map(str, options)) or "default",
)
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_blocks_are_the_whole_image(
    options: dict[str, Any], mask: Any, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = 255 if dtype == np.uint8 else 1
    image = (scale * IMAGE).astype(dtype)
    parts, whole, used = in_both_ways(monkeypatch, lambda: label(image, scale * COLORS, mask=mask, **options))
    assert len(used) > 1
    check_same(parts, whole)
    other = {name: value for name, value in options.items() if name != "weights" or not isinstance(value, Layers)}
    soft = SOFT.astype(np.float64 if dtype == np.float64 else np.float32)
    parts, whole, _ = in_both_ways(monkeypatch, lambda: refine(soft, image=image, mask=mask, **(other | {"rho": 0.5})))
    check_same(parts, whole)


@pytest.mark.parametrize("options", [{"solver": Krylov(6)}, {"solver": DormandPrince()}, {"weights": Far()}])
def test_what_looks_at_the_whole_image_is_labeled_at_once(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, whole, used = in_both_ways(monkeypatch, lambda: label(IMAGE, COLORS, **options))
    assert not used
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)


def test_averaging_that_wraps_around_is_labeled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Grid(np.full((SHAPE[0], 9, SHAPE[1]), 1 / 9), periodic=True)
    monkeypatch.setattr("gpulaf.averaging.grid.check_weights", lambda *_: None)  # of a grid with a border
    parts, whole, used = in_both_ways(monkeypatch, lambda: label(IMAGE, COLORS, weights=weights))
    assert not used
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)


def test_given_weights_are_checked_once_and_by_their_place_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(memory, "BLOCK", 1.0)
    monkeypatch.setattr("gpulaf.averaging.grid.check_weights", lambda *x: calls.append(x) or check_weights(*x))
    label(IMAGE, COLORS, weights=RANDOM)
    assert len(calls) == 1
    wrong = RANDOM.copy()
    wrong[140, 4, 190] = -1
    with pytest.raises(ValueError, match=r"a weight at pixel \(140, 190\) is negative"):
        label(IMAGE, COLORS, weights=wrong)
    with pytest.raises(ValueError, match=r"weights have shape \(150, 9, 200\); accepted is \(150, N, 201\)"):
        label(IMAGE, COLORS, weights=RANDOM[..., 1:])


def test_blocks_cover_the_image_once() -> None:
    seen = np.zeros(SHAPE, int)
    for block in blocks([3, 4], SHAPE, 7):
        assert all(0 <= s.start < s.stop <= n for s, n in zip(block.outer, SHAPE, strict=True))
        part = seen[block.outer]
        part[block.core] += 1
        assert seen[block.inner].shape == part[block.core].shape
        assert block.cuts(SHAPE) == [
            block.outer[0].start > 0, block.outer[0].stop < 150, block.outer[1].start > 0, block.outer[1].stop < 201,
        ]  # fmt: skip
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("pixel", "halo", "side"), [(320, 8, 316), (1e9, 4, 64), (1e9, 8, 96), (1e9, 100, 1200), (0.01, 8, 56568)]
)
def test_the_side_of_blocks(pixel: float, halo: int, side: int) -> None:
    assert memory.block_side(pixel, halo) == side


def test_a_large_image_takes_blocks_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(module, "blocks", lambda *options: used.extend(blocks(*options)) or used)
    image = np.random.default_rng(0).integers(0, 255, (900, 700), dtype=np.uint8)
    labeler = Labeler([40, 90, 200])
    found = labeler(image)
    assert len(used) > 1
    monkeypatch.setattr(memory, "BLOCK", 1e12)
    check_same(found, labeler(image))
