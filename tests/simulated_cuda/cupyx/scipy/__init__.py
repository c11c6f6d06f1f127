"""SciPy's functions on arrays of the simulated device; rooms are loaded when they are asked for, as in CuPy."""

from importlib import import_module


def __getattr__(name):
    if name in ("ndimage", "sparse"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"Module 'cupyx.scipy' has no attribute '{name}'")
