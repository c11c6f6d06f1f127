"""``cupy.exceptions``."""

from numpy.exceptions import AxisError, ComplexWarning

__all__ = ["AxisError", "ComplexWarning"]
