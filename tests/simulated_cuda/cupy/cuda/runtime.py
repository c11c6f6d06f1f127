"""``cupy.cuda.runtime``."""

from .._runtime import (
    CUDARuntimeError,
    deviceSynchronize,
    driverGetVersion,
    getDevice,
    getDeviceCount,
    getDeviceProperties,
    memGetInfo,
    runtimeGetVersion,
    setDevice,
)

__all__ = [
    "CUDARuntimeError", "deviceSynchronize", "driverGetVersion", "getDevice", "getDeviceCount", "getDeviceProperties",
    "memGetInfo", "runtimeGetVersion", "setDevice",
]  # fmt: skip
