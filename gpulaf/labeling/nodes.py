"""Label the nodes of a graph: superpixels, points, samples; what `labeling` does for pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..averaging.graph import Graph, graph_like
from ..backend.array import namespace
from ..backend.validation import image_features, log_probabilities
from ..flows.deep import DeepFlow
from ..integrators import Krylov
from ..integrators.base import Integrator, check_integrator, layer_times
from ..simplex import softmax
from .likelihood import distances, log_likelihood, prototype_array

__all__ = ["NodeLabeling", "label_nodes", "refine_nodes"]

Graphs = Graph | Sequence[Graph]


class NodeLabeling(NamedTuple):
    """Labeled nodes."""

    #: (n,) array of label indices, in the smallest unsigned type that holds them.
    labels: Any
    #: (n, J) array: the probability of every label, W(T).
    probabilities: Any
    #: Error of v relative to v, as the integrator states it; the sum of those of layers.
    error: float
    #: Products with A that were spent.
    products: int
    #: Whether the integrator met its tolerance.
    converged: bool
    #: Why it stopped, in one sentence.
    reason: str


def label_nodes(
    features: Any,
    prototypes: Any,
    graph: Graphs,
    *,
    rho: float = 0.1,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
) -> NodeLabeling:
    """Label every node of a graph by its feature and its neighbors, by the linearized assignment flow (2.22).

    Parameters
    ----------
    features : (n, C) or (n,) array of any real dtype
        As of pixels in :func:`gpulaf.label`: uint8 and uint16 values are divided by 255 and 65535.
    prototypes : int or (J, C) array
        One feature per label, or the number of labels, whose prototypes are then found by k-means.
    graph : Graph, or sequence of them
        Who averages over whom, with what weights; of n nodes, learned or made by :func:`nearest_neighbor_graph` or
        :func:`region_graph`. A sequence holds those of layers.
    rho : float
        Scale of the data, in the units of the features.
    time : float, or sequence of float
        Integration time T, dimensionless; a sequence holds that of each layer, a number is that of all together.
    integrator : Krylov, Taylor or Euler, optional
        Krylov() if None.

    Returns
    -------
    NodeLabeling
        In the library of `features`; float64 for float64 features, float32 otherwise.

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.

    Examples
    --------
    >>> import numpy as np
    >>> from gpulaf import label_nodes, nearest_neighbor_graph
    >>> points = np.random.default_rng(0).random((200, 2))
    >>> result = label_nodes(points[:, 0], [0.2, 0.8], nearest_neighbor_graph(points))
    >>> result.labels.shape, result.probabilities.shape
    ((200,), (200, 2))
    """
    xp = namespace(features) if hasattr(features, "shape") else np
    features = xp.asarray(features)
    if features.ndim not in (1, 2):
        raise ValueError(f"features have shape {tuple(features.shape)}; accepted are (n, C) and (n,), a row per node.")
    rows = xp.reshape(features, (features.shape[0], 1, -1)) if features.shape[0] else features
    values, scale = image_features(rows)
    _check_rho(rho)
    D = distances(values, prototype_array(prototypes, values, scale))
    return _solve(log_likelihood(D[:, :, 0], rho), graph, time, integrator)


def refine_nodes(
    probabilities: Any,
    graph: Graphs,
    *,
    rho: float = 1.0,
    time: float | Sequence[float] = 3.0,
    integrator: Integrator | None = None,
) -> NodeLabeling:
    """Regularize the soft predictions of any classifier for the nodes of a graph.

    Parameters
    ----------
    probabilities : (n, J) floating array
        Non-negative, summing to 1 over the labels (within 1e-3).
    graph, time, integrator
        As in :func:`label_nodes`.
    rho : float
        Temperature: ℓ = log(probabilities)/rho. Above 1 the predictions count for less.

    Returns
    -------
    NodeLabeling

    Raises
    ------
    ValueError, TypeError
        With the value, what is accepted and the next step.
    """
    shape = np.shape(probabilities)
    if len(shape) != 2:
        raise ValueError(f"probabilities have shape {shape}; accepted is (n, J), a row for each node.")
    _check_rho(rho)
    rows = probabilities if hasattr(probabilities, "shape") else np.asarray(probabilities)
    fields = log_probabilities(rows[:, None, :])[:, :, 0]
    return _solve(fields * float(1.0 / rho), graph, time, integrator)


def _check_rho(rho: float) -> None:
    if not rho > 0:
        raise ValueError(f"rho is {rho}; accepted are positive numbers. 0.1 suits features in [0, 1].")


def _solve(fields: Any, graph: Any, time: Any, integrator: Integrator | None) -> NodeLabeling:
    xp, listed = namespace(fields), isinstance(graph, (list, tuple))
    for x in graph if listed else [graph]:
        if not isinstance(x, Graph):
            raise TypeError(f"graph is {type(x).__name__!r}; accepted are Graphs. Wrap a sparse matrix: Graph(matrix).")
    times = layer_times(time, graph)
    own = [graph_like(x, fields) for x in graph] if listed else graph_like(graph, fields)
    solver, every = integrator or Krylov(), times if isinstance(times, list) else [times]
    check_integrator(solver, "The nonlinear flow on a graph is AssignmentFlow(graph, log_likelihood).solve(scheme).")
    with np.errstate(over="ignore", invalid="ignore"):
        solution = DeepFlow(own, every, integrator=solver).solve(fields, keep_basis=False)
    found = solution.summary
    smallest = np.min_scalar_type(fields.shape[0] - 1).name
    labels = xp.astype(xp.argmax(solution.v, axis=0), getattr(xp, smallest))
    return NodeLabeling(labels, xp.permute_dims(softmax(solution.v), (1, 0)), *found)
