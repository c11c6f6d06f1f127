"""Errors and properties of the CUDA runtime and driver."""

from __future__ import annotations

from cuda_simulation import work
from cuda_simulation.memory import memory

_TEXTS = {
    1: "cudaErrorInvalidValue: invalid argument",
    2: "cudaErrorMemoryAllocation: out of memory",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    400: "cudaErrorInvalidResourceHandle: invalid resource handle",
    600: "cudaErrorNotReady: device not ready",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
    906: "cudaErrorStreamCaptureImplicit: operation would make the legacy stream depend on a capturing blocking stream",
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_TEXTS.get(status, f"cudaError {status}"))


class CUDADriverError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_TEXTS.get(status, f"CUDA_ERROR {status}"))


class _Refusals:
    """Turn what the queues refuse into CuPy's errors."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, work.CaptureError):
            raise CUDARuntimeError(error.args[0]) from None
        return False


refusals = _Refusals()


def getDeviceCount():
    return 1


def getDevice():
    return 0


def setDevice(device):
    if device != 0:
        raise CUDARuntimeError(101)


def getDeviceProperties(device):
    setDevice(device)
    return {
        "name": b"Simulated GPU", "totalGlobalMem": memory.limit, "sharedMemPerBlock": 48 * 1024,
        "major": 9, "minor": 0,
        "multiProcessorCount": 132, "maxThreadsPerBlock": 1024, "warpSize": 32, "l2CacheSize": 50 * 2**20,
        "memoryClockRate": 2619000, "memoryBusWidth": 5120, "clockRate": 1980000,
    }  # fmt: skip


def memGetInfo():
    return max(0, memory.limit - memory.used), memory.limit


def deviceSynchronize():
    with refusals:
        work.wait_for_all()


def runtimeGetVersion():
    return 13000


def driverGetVersion():
    return 13000
