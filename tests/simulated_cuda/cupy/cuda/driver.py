"""``cupy.cuda.driver``."""

from .._runtime import CUDADriverError

__all__ = ["CUDADriverError"]
