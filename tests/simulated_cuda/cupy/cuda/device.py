"""``cupy.cuda.device``."""

from __future__ import annotations

from .. import _runtime


class Device:
    def __init__(self, device=None):
        self.id = 0 if device is None else int(device)
        _runtime.setDevice(self.id)

    def __int__(self):
        return self.id

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        return None

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    @property
    def compute_capability(self):
        return "90"

    @property
    def mem_info(self):
        return _runtime.memGetInfo()

    def synchronize(self):
        _runtime.deviceSynchronize()

    def use(self):
        return self
