"""Predictors for a measurement: each trained in a process of its own, settings chosen on images held back."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from measure import ASKED, megabytes

import gpulaf
from gpulaf.io import read_image, read_truth
from gpulaf.prediction import Training, gaussian_features, patch_features


class Job(NamedTuple):
    """One training of a predictor."""

    options: dict[str, Any]
    training: dict[str, Any]
    images: Sequence[Any]
    truths: Sequence[Any]
    probabilities: Sequence[Any] | None = None

    def first(self, count: int) -> Job:
        """The same on fewer images."""
        return self._replace(**{name: x[:count] for name, x in self._asdict().items() if isinstance(x, list)})


def both(image: np.ndarray) -> np.ndarray:
    """Raw 5×5 patches and Gaussian derivatives of every channel."""
    return np.concatenate([patch_features(image, 2), gaussian_features(image, (1, 2, 4))], axis=-2)


def of_grey(image: np.ndarray) -> np.ndarray:
    """What `both` says of the grey value, in the first channel."""
    return both(image[..., :1])


def of_both(image: np.ndarray) -> np.ndarray:
    """Gaussian derivatives of grey value and probability, and the 3×3 patches of the probability."""
    return np.concatenate([gaussian_features(image), patch_features(image[..., 1:])], axis=-2)


def learn(job: Job) -> tuple[gpulaf.WeightPredictor, float, float]:
    """The predictor, the seconds of its training and the peak memory of this process in MB."""
    began = clock.perf_counter()
    model = gpulaf.WeightPredictor(**job.options, training=Training(**job.training))
    model.fit(job.images, job.truths, probabilities=job.probabilities, progress=False)
    return model, clock.perf_counter() - began, megabytes("VmHWM")


def alone(job: Job) -> tuple[gpulaf.WeightPredictor, float, float]:
    """The same in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(learn, job).result()


def labeled(model: gpulaf.WeightPredictor, image: Any, probabilities: Any = None) -> np.ndarray:
    """Labels (H, W) of an unseen image, or of its probabilities refined."""
    return model.label(image).labels if probabilities is None else model.refine(image, probabilities).labels


@contextmanager
def stored(arrays: Sequence[np.ndarray]) -> Iterator[list[Path]]:
    """Paths of files with the arrays, as long as they are needed."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k:02d}.npy" for k in range(len(arrays))]
        for path, array in zip(paths, arrays, strict=True):
            np.save(path, array)
        yield paths


def chosen(job: Job, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """The candidate that, learned on all images but the last two, labels these best; with --quick the last one."""
    if ASKED.quick:
        return candidates[-1]
    count, scores = len(job.images) - 2, []
    truths = [read_truth(path)[0] for path in job.truths[count:]]
    for candidate in candidates:
        model = alone(job.first(count)._replace(options=candidate))[0]
        soft = [None, None] if job.probabilities is None else [np.load(path) for path in job.probabilities[count:]]
        found = [labeled(model, read_image(image), p) for image, p in zip(job.images[count:], soft, strict=True)]
        scores.append(float(np.mean([np.mean(labels != truth) for labels, truth in zip(found, truths, strict=True)])))
        print(f"  {spelled(candidate)}: {100 * scores[-1]:.2f} % of the two images held back", flush=True)
    return candidates[int(np.argmin(scores))]


def spelled(settings: dict[str, Any]) -> str:
    """Settings in one line."""
    names = {name: getattr(value, "__name__", value) for name, value in settings.items()}
    return " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in names.items())
