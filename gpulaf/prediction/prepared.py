"""Prepared images of a training, kept while they fit in a memory budget."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from ..backend.array import is_device_array, namespace
from ..backend.memory import free_bytes
from .dataset import Prepared, Reader
from .samples import Samples
from .views import View

__all__ = ["PreparedImages"]


class PreparedImages:
    """Read and validate images, and keep them until the budget is spent; from there on they are read at every use.

    None is ever given up for another: a training asks for all in turn, so that the oldest is the next to be needed.

    Parameters
    ----------
    reader : Reader
    memory : int, optional
        Bytes of prepared arrays to keep; a quarter of the memory that is free at the first image if None.
    """

    def __init__(self, reader: Reader, memory: int | None = None) -> None:
        self.reader = reader
        self._left = memory
        self._kept: dict[tuple[str, int], Prepared] = {}
        self._lock = Lock()

    def get(self, samples: Samples, k: int, view: View | None = None, seed: Sequence[int] = ()) -> Prepared:
        """The k-th image with its features, or what a view of it shows; the same bits, kept or read."""
        prepared = self._kept.get((samples.name, k))
        if prepared is None and self.spent:
            prepared = self.reader(samples[k], view, seed)
            return self.reader.with_features(prepared)
        if prepared is None:
            with self._lock:
                prepared = self._kept.get((samples.name, k)) or self._read(samples, k, view is None)
        return prepared if view is None else self.reader.with_features(prepared.viewed(view, seed, self.reader.spacing))

    @property
    def spent(self) -> bool:
        """Whether the budget is spent, so that images are read at every use."""
        return self._left == 0

    def _read(self, samples: Samples, k: int, features: bool) -> Prepared:
        """Read an image, with its features where it is asked for as a whole, and keep it if the budget allows it."""
        prepared = self.reader(samples[k])
        prepared = self.reader.with_features(prepared) if features else prepared
        self._keep((samples.name, k), prepared)
        return prepared

    def _keep(self, key: tuple[str, int], prepared: Prepared) -> None:
        """Keep a prepared image if the budget allows it; else it is spent."""
        if self._left is None:
            self._left = (free_bytes(is_device_array(prepared.image)) or 0) // 4
        if prepared.nbytes > self._left:
            self._left = 0
            return
        self._left -= prepared.nbytes
        image = namespace(prepared.image).asarray(prepared.image, copy=True)  # the caller may use the array again
        self._kept[key] = prepared._replace(image=image)
