"""Cross entropy of labels that are noisy themselves: what the labeling is measured by is what the noise makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .loss import Loss, check_transition, cross_entropy_loss

__all__ = ["NoisyLabelLoss"]


@dataclass(frozen=True)
class NoisyLabelLoss:
    """−log (Q W)_y for labels y that are wrong at times, Q_jk = P(y = j | k is right): it is lowest for right labels.

    The forward correction of Patrini et al., Making deep neural networks robust to label noise, CVPR 2017.

    Parameters
    ----------
    transition : (J, J) array
        Q, columns with the sum 1; kept as tuples.

    Examples
    --------
    >>> import gpulaf
    >>> scene = gpulaf.scenes.voronoi_lines(32, sites=6)
    >>> l = gpulaf.fields.to_rows(-((scene.image - [0.0, 1.0]) ** 2) / 0.18)
    >>> loss = gpulaf.learning.NoisyLabelLoss([[0.9, 0.1], [0.1, 0.9]])  # a tenth of all labels is wrong
    >>> fit = gpulaf.fit_weights(l, scene.truth, loss=loss, steps=2)
    >>> fit.history[-1].loss < fit.history[0].loss
    True
    """

    transition: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if np.ndim(self.transition) != 2:
            raise TypeError(f"transition is {self.transition!r}; accepted is (J, J), as [[0.9, 0.1], [0.1, 0.9]].")
        values = check_transition(self.transition, len(self.transition))
        object.__setattr__(self, "transition", tuple(map(tuple, values.tolist())))

    def __call__(self, v: Any, truth: Any, *, class_weights: Any = None, batch: int = 0) -> Loss:
        """The loss of v (…, H, J, W) with noisy labels (…, H, W), as :func:`gpulaf.cross_entropy_loss`."""
        return cross_entropy_loss(
            v, truth, class_weights=class_weights, transition=np.array(self.transition), batch=batch
        )
