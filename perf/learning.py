"""What is learned for `quality.py`, predictors of weights and classifiers, in processes with one thread each."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
from baselines import METHODS, Case
from judging import Call, Found, Problem, told, tuned, wrong

import gpulaf
from gpulaf.fields import from_rows
from gpulaf.labeling.solve import label_by
from gpulaf.prediction import Features

#: The classifiers whose probabilities are cleaned up: features, pixels of each image, trees.
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "soft": {"features": "patch:3+gaussian:1,2,4,8", "pixels": 10_000},
    "vnc": {
        "features": "patch:2+gaussian:1,2,4,8,16", "pixels": 40_000, "max_iter": 40, "learning_rate": 0.07,
        "min_samples_leaf": 100,
    },
}  # fmt: skip
#: The least probability.
LEAST = 1e-6
#: Problems by name, in the processes.
PROBLEMS: dict[str, Problem] = {}
QUICK = False


@dataclass(frozen=True)
class Job:
    """One row: what is learned, how, and from how many images."""

    name: str
    #: "network", "prototypes" or "classifier".
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    #: All images where there is none.
    images: int | None = None
    seeds: int = 1
    #: Options of which the best is taken, by learning on all images but two and labeling these.
    candidates: tuple[dict[str, Any], ...] = ({},)
    #: Steps of such a trial.
    trial: int = 200

    def with_seed(self, seed: int) -> Job:
        if self.kind == "classifier":
            return replace(self, options=self.options | {"random_state": seed})
        return replace(self, options=self.options | {"seed": seed}, training=self.training | {"seed": seed})

    def quick(self) -> Job:
        """A few steps on small crops."""
        if self.kind == "classifier":
            return replace(self, options=self.options | {"max_iter": 3})
        return replace(self, training=self.training | {"steps": 2, "crop": 32, "batch": 2})


def seen(case: Case, soft: bool) -> np.ndarray:
    """The image (H, W, C), behind a classifier with its probabilities of all labels but the last."""
    return case.image if not soft else np.concatenate([case.image, soft_of(case)[..., :-1]], axis=-1)


def soft_of(case: Case) -> np.ndarray:
    """Probabilities (H, W, J)."""
    return np.ascontiguousarray(from_rows(case.probabilities()))


def learned(job: Job, problem: Problem, cases: Sequence[Case]) -> Call:
    """What was learned from cases, as labels of a case whose label 0 costs more by an offset."""
    if QUICK:
        job = job.quick()
    soft = problem.soft and job.kind != "network"  # networks see probabilities themselves
    images, truths = [seen(case, soft) for case in cases], [case.truth for case in cases]
    if job.kind == "classifier":
        return of_classifier(*boosted(images, truths, **job.options), problem)
    kind = {"network": gpulaf.WeightNetwork, "prototypes": gpulaf.WeightPredictor}[job.kind]
    predictor: Any = kind(**job.options).set_params(**{f"training__{name}": x for name, x in job.training.items()})
    given = [soft_of(case) for case in cases] if problem.soft else None
    predictor.fit(images, truths, probabilities=given, progress=False)
    reader, labeler = predictor.reader, predictor.labeler()

    def call(case: Case, offset: float = 0.0) -> np.ndarray:
        pixels = reader.pixels(seen(case, soft)).features
        fields = reader.data_term(pixels, soft_of(case) if problem.soft else None)
        fields[:, 0] -= np.float32(offset)
        return label_by(labeler, fields, pixels).labels.astype(np.int32)

    return call


def of_classifier(model: Any, features: Features, problem: Problem) -> Call:
    """The labels that a classifier finds most probable."""

    def call(case: Case, offset: float = 0.0) -> np.ndarray:
        logs = np.log(asked(model, features, seen(case, problem.soft), case.cost.shape[-2]))
        logs[..., 0] -= np.float32(offset)
        return logs.argmax(axis=-1).astype(np.int32)

    return call


def boosted(
    images: Sequence[np.ndarray], truths: Sequence[np.ndarray], features: str, pixels: int, **options: Any
) -> tuple[Any, Features]:
    """Gradient-boosted trees of features of single pixels, some of each image."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng, make, rows, labels = np.random.default_rng(options.get("random_state", 0)), Features(features), [], []
    for image, truth in zip(images, truths, strict=True):
        at = rng.choice(truth.size, min(pixels, truth.size), replace=False)
        rows.append(flat(make(image))[at])
        labels.append(truth.ravel()[at])
    model = HistGradientBoostingClassifier(**options)
    return model.fit(np.concatenate(rows), np.concatenate(labels)), make


def flat(features: np.ndarray) -> np.ndarray:
    """(H, F, W) to (H·W, F)."""
    return from_rows(features).reshape(-1, features.shape[1])


def asked(model: Any, features: Features, image: np.ndarray, labels: int) -> np.ndarray:
    """Probabilities (H, W, J) of a classifier, LEAST or more."""
    p = np.full((*image.shape[:2], labels), LEAST, np.float32)
    p[..., model.classes_] = model.predict_proba(flat(features(image))).reshape(*image.shape[:2], -1)
    p = p.clip(LEAST)
    return p / p.sum(axis=-1, keepdims=True)


def probabilities(name: str, images: Any, truths: Any, others: Any, labels: int) -> list[np.ndarray]:
    """What the classifier of a problem that learned from images says of others."""
    options = CLASSIFIERS[name] | {"random_state": 0} | ({"max_iter": 3} if QUICK else {})
    model, features = boosted(images, truths, **options)
    return [asked(model, features, image, labels) for image in others]


def tried(name: str, job: Job, candidate: dict[str, Any]) -> float:
    """% of wrong pixels of the last two images after learning on the others."""
    problem = PROBLEMS[name]
    own = replace(job, options=job.options | candidate, training=job.training | {"steps": job.trial}).with_seed(0)
    call = learned(own, problem, problem.known[:-2])
    return float(np.mean([wrong(call(case), case) for case in problem.known[-2:]]))


def measured(name: str, job: Job, seed: int) -> Found:
    """Learn, choose the offset, label the unseen images."""
    problem, began = PROBLEMS[name], clock.process_time()
    call = learned(job.with_seed(seed), problem, problem.known[: job.images])
    settings = tuned(call, [{}], problem)
    return told(call, settings, problem, clock.process_time() - began)


def classical(name: str, method: str) -> Found:
    """Choose settings of a method without learning, label the unseen images."""
    problem, began = PROBLEMS[name], clock.process_time()

    def call(case: Case, offset: float = 0.0, **settings: Any) -> np.ndarray:
        return METHODS[method].call(case.shifted(offset), **settings)

    settings = tuned(call, METHODS[method].grid(QUICK), problem)
    return told(call, settings, problem, clock.process_time() - began)


@contextmanager
def processes(problems: Sequence[Problem], quick: bool, count: int = 2) -> Iterator[Any]:
    """Run calls in processes with one thread each that know the problems; yields what submits one."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    context = get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=begin, initargs=(list(problems), quick)) as pool:
        yield pool.submit


def begin(problems: list[Problem], quick: bool) -> None:
    global QUICK
    QUICK = quick
    PROBLEMS.update({problem.name: problem for problem in problems})


