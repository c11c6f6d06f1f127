"""Arguments of public functions that are none: an error with what is accepted and the next step, or as in the docs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import complaint

import gpulaf
from gpulaf import averaging, integrators, io, labeling, learning, prediction

H, J, W = 5, 2, 7
RNG = np.random.default_rng(0)
IMAGE = RNG.random((H, W, 1))
ROWS = np.array([[0.2], [0.8]])
TRUTH = (IMAGE[..., 0] > 0.5).astype(int)
SOFT = np.concatenate([1 - IMAGE, IMAGE], -1)
QUIET = learning.FitOptions(progress=False)
FIELD = labeling.log_likelihood(labeling.distances(IMAGE, ROWS), 0.1)

#: What stands in the place of an argument.
WRONG: dict[str, Any] = {
    "None": None, "text": "x", "an empty text": "", "bytes": b"x", "a dict": {}, "a set": {1, 2}, "an object": object(),
    "an empty list": [], "a ragged list": [[1, 2], [3]], "a list of text": ["a", "b"], "a function": len, "a type": int,
    "NaN": float("nan"), "infinity": float("inf"), "-1": -1, "0": 0, "0.5": 0.5, "1e300": 1e300, "10^30": 10**30,
    "a complex number": 1j, "an array of objects": np.array([None, 1]), "an array of NaN": np.full((H, W), np.nan),
}  # fmt: skip


def fit(**options: Any) -> Any:
    return gpulaf.fit_weights(FIELD, TRUTH, steps=1, options=QUIET, **options)


def predictor(**options: Any) -> Any:
    training = prediction.Training(steps=1)
    return gpulaf.WeightPredictor(**({"n_prototypes": 2, "training": training} | options)).fit(
        [IMAGE], [TRUTH], progress=False
    )


#: A function of one argument, and the wrong ones that it takes all the same.
CALLS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "label image": (lambda x: gpulaf.label(x, ROWS), set()),
    "label prototypes": (lambda x: gpulaf.label(IMAGE, x), set()),
    "label rho": (lambda x: gpulaf.label(IMAGE, ROWS, rho=x), {"0.5"}),
    "label time": (lambda x: gpulaf.label(IMAGE, ROWS, time=x), {"None", "0.5"}),
    "label weights": (lambda x: gpulaf.label(IMAGE, ROWS, weights=x), {"None"}),
    "label solver": (lambda x: gpulaf.label(IMAGE, ROWS, solver=x), set()),
    "label channel_axis": (lambda x: gpulaf.label(IMAGE, ROWS, channel_axis=x), {"None", "-1"}),
    "label mask": (lambda x: gpulaf.label(IMAGE, ROWS, mask=x), {"None"}),
    "label range": (lambda x: gpulaf.label(IMAGE, ROWS, range=x), {"None"}),
    "label spacing": (lambda x: gpulaf.label(IMAGE, ROWS, spacing=x), {"None"}),
    "refine probabilities": (lambda x: gpulaf.refine(x), set()),
    "refine label_axis": (lambda x: gpulaf.refine(SOFT, label_axis=x), {"-1"}),
    "refine image": (lambda x: gpulaf.refine(SOFT, image=x), {"None"}),
    "refine_logits logits": (lambda x: gpulaf.refine_logits(x), set()),
    "fit_weights field": (lambda x: gpulaf.fit_weights(x, TRUTH, steps=1, options=QUIET), set()),
    "fit_weights truth": (lambda x: gpulaf.fit_weights(FIELD, x, steps=1, options=QUIET), set()),
    "fit_weights mask": (lambda x: fit(mask=x), {"None"}),
    "fit_weights weights": (lambda x: fit(weights=x), {"None"}),
    "fit_weights time": (lambda x: fit(time=x), {"0.5"}),
    "fit_weights solver": (lambda x: fit(solver=x), set()),
    "fit_weights loss": (lambda x: fit(loss=x), set()),
    "fit_weights descent": (lambda x: fit(descent=x), set()),
    "fit_weights options": (lambda x: gpulaf.fit_weights(FIELD, TRUTH, steps=1, options=x), set()),
    "fit_weights steps": (lambda x: gpulaf.fit_weights(FIELD, TRUTH, steps=x, options=QUIET), {"0"}),
    "kmeans_prototypes features": (lambda x: labeling.kmeans_prototypes(x, 2), set()),
    "kmeans_prototypes labels": (lambda x: labeling.kmeans_prototypes(IMAGE, x), set()),
    "distances features": (lambda x: labeling.distances(x, ROWS), set()),
    "distances prototypes": (lambda x: labeling.distances(IMAGE, x), set()),
    "log_likelihood distances": (lambda x: labeling.log_likelihood(x, 0.1), {"an array of NaN"}),
    "log_likelihood rho": (lambda x: labeling.log_likelihood(FIELD, x), {"0.5"}),
    "uniform_weights shape": (lambda x: gpulaf.uniform_weights(x), set()),
    "uniform_weights radius": (lambda x: gpulaf.uniform_weights((H, W), x), set()),
    "bilateral_weights image": (lambda x: gpulaf.bilateral_weights(x), set()),
    "bilateral_weights sigma": (lambda x: gpulaf.bilateral_weights(IMAGE, sigma=x), {"0.5"}),
    "Grid": (lambda x: gpulaf.Grid(x), set()),
    "Graph": (lambda x: gpulaf.Graph(x), set()),
    "nearest_neighbor_graph": (lambda x: averaging.nearest_neighbor_graph(IMAGE.reshape(-1, 1), x), set()),
    "Taylor tol": (lambda x: integrators.Taylor(tol=x), {"0.5"}),
    "Taylor degree": (lambda x: integrators.Taylor(degree=x), {"None"}),
    "Krylov dimension": (lambda x: integrators.Krylov(dimension=x), {"None"}),
    "Euler steps": (lambda x: integrators.Euler(steps=x), set()),
    "DormandPrince tol": (lambda x: integrators.DormandPrince(tol=x), {"0.5"}),
    "RiemannianAdam step": (lambda x: learning.RiemannianAdam(x), {"0.5"}),
    "cosine_loss truth": (lambda x: gpulaf.cosine_loss(FIELD, x), set()),
    "read_image": (lambda x: io.read_image(x), set()),
    "read_truth": (lambda x: io.read_truth(x), set()),
    "read_record axes": (lambda x: io.read_record("im.npy", axes=x), {"None"}),
    "read_record series": (lambda x: io.read_record("im.npy", series=x), {"None", "0"}),
    "write_array": (lambda x: io.write_array("out.npy", x), {"an array of NaN"}),
    "label_file image": (lambda x: gpulaf.label_file(x, "out.tif", gpulaf.Labeler(ROWS)), set()),
    "label_file output": (lambda x: gpulaf.label_file("im.npy", x, gpulaf.Labeler(ROWS)), set()),
    "label_file labeler": (lambda x: gpulaf.label_file("im.npy", "out.tif", x), set()),
    "predictor n_prototypes": (lambda x: predictor(n_prototypes=x), set()),
    "predictor features": (lambda x: predictor(features=x), {"0"}),
    "predictor radius": (lambda x: predictor(radius=x), set()),
    "predictor training": (lambda x: predictor(training=x), set()),
    "predictor images": (lambda x: gpulaf.WeightPredictor(2).fit(x, [TRUTH], progress=False), set()),
    "predictor truths": (lambda x: gpulaf.WeightPredictor(2).fit([IMAGE], x, progress=False), set()),
    "predictor load": (lambda x: gpulaf.WeightPredictor.load(x), set()),
}
#: Functions of the user, whose own errors pass through.
OWN = {("fit_weights loss", "a function"), ("predictor features", "a type")}
CASES = [(call, what) for call in CALLS for what in WRONG if (call, what) not in OWN]


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize(("call", "what"), CASES, ids=lambda x: x.replace(" ", "-"))
def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("im.npy", IMAGE)
    function, taken = CALLS[call]
    before = set(tmp_path.iterdir())
    found, text = complaint(lambda: function(WRONG[what]))
    if not text:
        assert what in taken, found
        return
    assert what not in taken, text
    assert re.search(r"\.( |$)", text), text
    assert re.search(r"accepted|[.;] [A-Z(]", text), text
    assert set(tmp_path.iterdir()) == before
