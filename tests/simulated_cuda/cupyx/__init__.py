"""The part of ``cupyx`` that the project uses, on arrays of the simulated device."""

from . import scipy

__all__ = ["scipy"]
