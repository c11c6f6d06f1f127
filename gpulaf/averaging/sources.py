"""Maps from an image, or a tile with its halo, to weight patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..backend.validation import check_spacing
from .bilateral import bilateral_patches, check_bilateral

__all__ = ["BilateralWeights", "WeightSource"]


@runtime_checkable
class WeightSource(Protocol):
    """A map from the features of an image to its weight patches.

    Its ``repr`` tells it from others: a tiled labeling that was stopped goes on only with a source of the same one.
    """

    def __call__(self, features: Any) -> Any:
        """(H, W, C) features, scaled and trusted, to (H, N, W) patches, or to a list of those of each layer.

        A layer may be a :class:`gpulaf.flows.Stage`, which makes its weights from the state it starts from.

        With a mask, features go on into invalid pixels as far as `reach`; what looks there is taken away afterwards.
        """
        ...

    @property
    def radius(self) -> int:
        """Of the patches."""
        ...

    @property
    def reach(self) -> int | None:
        """Pixels that the weights of a pixel look around; None where that is not known, which tiles ask for."""
        ...

    def workspace(self, channels: int) -> int:
        """Numbers per pixel that are held while the weights are made, at most."""
        ...


@dataclass(frozen=True)
class BilateralWeights:
    """Bilateral weights of the image that is labeled; see :func:`gpulaf.bilateral_weights`.

    Parameters
    ----------
    sigma : float
        Scale of the features, in scaled image units.
    radius : int
        1 for 3×3 patches.
    spacing : (sy, sx) or (sz, sy, sx), optional
        Of the pixels.

    Raises
    ------
    ValueError
        If `sigma`, `radius` or `spacing` is not positive.
    """

    sigma: float = 0.1
    radius: int = 1
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_bilateral(self.sigma, self.radius)
        if self.spacing is not None:
            check_spacing(self.spacing, len(self.spacing))

    @property
    def reach(self) -> int:
        """Pixels that the weights of a pixel look around."""
        return self.radius

    def workspace(self, channels: int) -> int:
        """Numbers per pixel that are held while the weights are made, at most."""
        return 7 * (2 * self.radius + 1) ** 2 + 4 * channels + 8

    def __call__(self, features: Any) -> Any:
        """(H, W, C) features to (H, N, W) patches, or (D, H, W, C) to (D, H, N, W)."""
        return bilateral_patches(features, self.sigma, self.radius, self.spacing)
