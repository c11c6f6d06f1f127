"""The flows of a fitted WeightNetwork as a module: perceptrons at every pixel, weights, data, flows.

The same as :mod:`gpulaf.prediction.network` in torch operations, to be trained on with other layers, or exported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..integrators.taylor import Taylor
from ..prediction.stage import SMALLER
from .flow import linear_flow
from .patches import as_rows, from_rows, masked, neighbors, rows_of_mask, weights_from_logits

__all__ = ["NetworkFlow"]


class NetworkFlow(torch.nn.Module):
    """What a fitted :class:`gpulaf.WeightNetwork` computes of the features of an image.

    Parameters
    ----------
    predictor : WeightNetwork
        Fitted on images. Its matrices, offsets and scales of the data become parameters; its times are fixed.
    layout : "planes" or "rows"

    Raises
    ------
    TypeError
        If its solver is another than Taylor.
    ValueError
        If it was fitted on volumes, or couples labels.

    Notes
    -----
    ``forward(features, log_likelihood, mask=None)`` takes what :meth:`inputs` makes of an image, scaled features
    (B, F, H, W) and ℓ = −D/ρ (B, J, H, W), and gives v, W = softmax(v, dim=1).

    Examples
    --------
    >>> import gpulaf, torch
    >>> from gpulaf.torch import NetworkFlow
    >>> scenes = [gpulaf.scenes.voronoi_lines(32, sites=5, seed=seed) for seed in range(2)]
    >>> network = gpulaf.WeightNetwork((8,), features="patch:1").set_params(training__steps=2)
    >>> flow = NetworkFlow(network.fit([s.image for s in scenes], [s.truth for s in scenes]))
    >>> labels = flow(*flow.inputs(scenes[0].image)).argmax(dim=1)
    >>> bool((labels[0].numpy() == network.predict([scenes[0].image])[0]).all())
    True
    """

    def __init__(self, predictor: Any, *, layout: str = "planes") -> None:
        super().__init__()
        if not isinstance(predictor.solver, Taylor):
            raise TypeError(f"the solver of the network is {predictor.solver!r}; accepted is Taylor. Fit it with one.")
        network = predictor.network_
        if network.axes != 2:
            raise ValueError("the network was fitted on volumes; accepted are those of images. Call predictor.label.")
        if network.coupling is not None:
            raise ValueError("the network has label_coupling; accepted are those without. Call predictor.label.")
        self.solver, self.layout, self.times = predictor.solver, layout, predictor.times
        self.reach, self.label_reach, self.count = network.reach, network.label_reach, (2 * network.radius + 1) ** 2
        self.tensors = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.tensor(x, dtype=torch.float32)) for name, x in network.tensors.items()
             if name != "clocks"}
        )  # fmt: skip
        self.depths = [len(layers) for layers in network.stages[0]]
        self.reader = predictor.reader

    def inputs(self, image: Any, probabilities: Any = None) -> tuple[Any, Any]:
        """Features and ℓ of an image, (H, W) or (H, W, C) as it was trained on: float32 tensors with a batch of one.

        With `probabilities`, (H, W, J), of a network that refines them.
        """
        pixels = self.reader.pixels(np.asarray(image, dtype=np.float32)).features
        data = self.reader.data_term(pixels, probabilities)
        fields = self.reader.pixel_features(pixels, log_likelihood=data), data
        return tuple(from_rows(torch.tensor(x)[None], self.layout) for x in fields)

    def forward(self, features: Any, log_likelihood: Any, mask: Any = None) -> Any:
        """Features and ℓ to v."""
        x, l = as_rows(features, self.layout), as_rows(log_likelihood, self.layout)
        total = torch.zeros_like(l)
        for s, time in enumerate(self.times):
            weights, l = self._stage(s, x, l, mask)
            v = linear_flow(weights, l, time, solver=self.solver, layout="rows", mask=mask)
            l, total = l + v, total + v
        return from_rows(total, self.layout)

    def _stage(self, s: int, x: Any, l: Any, mask: Any) -> tuple[Any, Any]:
        """Weights of a stage, and its ℓ scaled and corrected."""
        p = torch.softmax(l, dim=-2)
        if mask is not None:
            p = torch.where(rows_of_mask(mask, p), p, torch.zeros_like(p))
        if self.reach >= 0:
            x = torch.cat([x, *neighbors(p, self.reach, 2)], dim=-2)
        x = self._perceptron(f"stage{s}_", self.depths[0], x)
        weights = weights_from_logits(x.narrow(-2, 0, self.count), mask=mask, layout="rows")
        data = l * self.tensors["scales"][s].exp()
        if x.shape[-2] > self.count:
            data = data + x.narrow(-2, self.count, l.shape[-2])
        if self.label_reach >= 0:  # rows of labels one after the other
            seen = [*neighbors(p, self.label_reach, 2), SMALLER * (l - l.mean(dim=-2, keepdim=True))]
            rows = torch.cat(seen, dim=-2).reshape(*l.shape[:-2], -1, l.shape[-2] * l.shape[-1])
            data = data + self._perceptron(f"stage{s}_label_", self.depths[1], rows).reshape(l.shape)
        l = data
        return masked(weights, l, mask) if mask is not None else (weights, l)

    def _perceptron(self, name: str, depth: int, x: Any) -> Any:
        for k in range(depth):
            matrix, offset = self.tensors[f"{name}matrix{k}"], self.tensors[f"{name}offset{k}"]
            x = torch.matmul(matrix, x) + offset.unsqueeze(-1)
            x = torch.relu(x) if k < depth - 1 else x
        return x
