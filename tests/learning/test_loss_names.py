"""Losses by name and options, and how checkpoints tell them apart."""

import json
from functools import partial

import pytest

from gpulaf import cosine_loss, cross_entropy_loss
from gpulaf.io.tensors import qualified_name
from gpulaf.learning import BoundaryLoss, ConnectivityLoss, NoisyLabelLoss, loss_of_options, loss_options


@pytest.mark.parametrize(
    "loss",
    [
        cosine_loss, cross_entropy_loss, BoundaryLoss(), BoundaryLoss(2.0, 3.5), ConnectivityLoss(),
        ConnectivityLoss((0, 2), 0.3, 0.8, BoundaryLoss(2.0)), NoisyLabelLoss(((0.9, 0.25), (0.1, 0.75))),
    ],
    ids=qualified_name,
)  # fmt: skip
def test_files_hold_losses(loss):
    stored = json.loads(json.dumps(loss_options(loss)))
    assert loss_of_options(stored) == loss


def own(v, truth):
    raise NotImplementedError


def test_others_are_not_held():
    for loss in (own, partial(cosine_loss, class_weights=[1, 2]), ConnectivityLoss(loss=own), BoundaryLoss):
        assert loss_options(loss) is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "own"}, ValueError), ({}, ValueError), ({"name": "BoundaryLoss", "width": -1}, ValueError),
        ({"name": "BoundaryLoss", "height": 1}, TypeError), ({"name": "ConnectivityLoss", "loss": {}}, ValueError),
    ],
)  # fmt: skip
def test_options_that_are_refused(options, error):
    with pytest.raises(error):
        loss_of_options(options)


def test_names_tell_options_apart():
    name = qualified_name(ConnectivityLoss(1, 0.5, loss=BoundaryLoss(2.0, 3.0)))
    expected = "gpulaf.learning.connectivity.ConnectivityLoss(foreground=(1,), weight=0.5, merges=0.8, loss="
    assert name == f"{expected}gpulaf.learning.boundary.BoundaryLoss(weight=2.0, width=3.0))"
    assert qualified_name(BoundaryLoss) == "gpulaf.learning.boundary.BoundaryLoss"
