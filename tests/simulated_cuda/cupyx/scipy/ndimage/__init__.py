"""Filters of images on the simulated device."""

from ._filters import gaussian_filter

__all__ = ["gaussian_filter"]
