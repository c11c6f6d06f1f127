"""Classes of pixels and their probabilities, and how many are right: what scikit-learn calls predict and score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend.array import host_array
from ..labeling.labeler import Labeling
from .estimator import Estimator
from .samples import Samples, check_sequence, read_item

__all__ = ["PixelClassifier"]


class PixelClassifier(Estimator):
    """A predictor of the class of every pixel, by labelings of images or refined probabilities."""

    classes_: np.ndarray

    @abstractmethod
    def label(self, image: Any, *, mask: Any = None) -> Labeling:
        """Label an image; label j stands for ``classes_[j]``."""

    @abstractmethod
    def refine(self, image: Any, probabilities: Any, *, mask: Any = None) -> Labeling:
        """Refine the probabilities of an image."""

    def predict(
        self,
        images: Sequence[Any],
        probabilities: Sequence[Any] | None = None,
        *,
        masks: Sequence[Any] | None = None,
    ) -> list[np.ndarray]:
        """Predict the class of every pixel.

        Parameters
        ----------
        images : sequence of (H, W) or (H, W, C) arrays, or of paths
        probabilities : sequence of (H, W, J) arrays, or of paths, optional
            For a predictor that was trained on them.
        masks : sequence of (H, W) arrays of bool, or of None, optional
            True where a pixel is valid.

        Returns
        -------
        list of (H, W) int64 arrays of values of `classes_`, −1 where there is no data, on the host.
        """
        return [self._classes(result) for result in self._labelings(images, probabilities, masks)]

    def predict_proba(
        self,
        images: Sequence[Any],
        probabilities: Sequence[Any] | None = None,
        *,
        masks: Sequence[Any] | None = None,
    ) -> list[np.ndarray]:
        """Predict the probability of every class at every pixel, of images as in :meth:`predict`.

        Returns
        -------
        list of (H, W, J) arrays on the host, in the order of `classes_`; NaN where there is no data.
        """
        return [host_array(result.probabilities) for result in self._labelings(images, probabilities, masks)]

    def score(
        self,
        images: Sequence[Any],
        truths: Sequence[Any],
        probabilities: Sequence[Any] | None = None,
        *,
        masks: Sequence[Any] | None = None,
        unlabeled: int | None = None,
    ) -> float:
        """The share of pixels with ground truth whose class is predicted, of all images together, 0 to 1.

        Parameters
        ----------
        images, probabilities, masks
            As in :meth:`predict`.
        truths : sequence of (H, W) integer arrays, or of paths
            As in :meth:`fit`; a class that was not learned counts as wrong.
        unlabeled : int, optional
            A value of the truths that is no label, besides −1.
        """
        samples = Samples(images, truths, probabilities, -1 if unlabeled is None else int(unlabeled), "scored", masks)
        right = count = 0
        for k, result in enumerate(self._labelings(images, probabilities, masks)):
            truth = read_item(samples[k])[1]
            known, found = truth != -1, self._classes(result)
            right, count = right + int((found == truth)[known].sum()), count + int(known.sum())
        if not count:
            raise ValueError("no pixel of the images has ground truth, and there is nothing to score. Check unlabeled.")
        return right / count

    def _labelings(self, images: Any, probabilities: Any, masks: Any) -> Iterator[Labeling]:
        """Label or refine images one after the other."""
        check_sequence(images, "images")
        for name, values in (("probabilities", probabilities), ("masks", masks)):
            if values is not None:
                check_sequence(values, name)
                if len(values) != len(images):
                    raise ValueError(f"there are {len(images)} images and {len(values)} {name}; accepted are as many.")
        for k in range(len(images)):
            mask = None if masks is None else masks[k]
            if probabilities is None:
                yield self.label(images[k], mask=mask)
            else:
                yield self.refine(images[k], probabilities[k], mask=mask)

    def _classes(self, result: Labeling) -> np.ndarray:
        """The classes of labels; −1 where there is no data."""
        labels = host_array(result.labels)
        if result.valid is None:
            return self.classes_[labels]
        valid = host_array(result.valid)
        return np.where(valid, self.classes_[np.where(valid, labels, 0)], -1)
