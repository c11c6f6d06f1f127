"""How much faster is a batch of small images than one image after the other?

Forward solution (Taylor 1e-4, T = 3), cosine loss and ∂Ω of each image, which all have weights of their own, float32:
the same calls of the library once on arrays with the images on their first axis, and image by image. Both take turns; a
ratio is the median over repetitions, of wall time and of processor time. What they find must be the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from measure import command, in_turns, over, problem, put, save

from gpulaf import Grid, Taylor, cosine_loss
from gpulaf.backend.array import host_array
from gpulaf.flows import LinearFlow, weight_gradient

TIME = 3.0


def gradient(weights: Any, l: Any, truth: Any) -> Any:
    """∂Ω of one image, or of each image of a batch."""
    flow = LinearFlow(Grid(weights), l)
    solution = Taylor().solve(flow, TIME)
    loss = cosine_loss(solution.v, truth, batch=truth.ndim - 2)
    return weight_gradient(flow, solution, loss.derivative).weights


def one_by_one(images: list[tuple[Any, Any, Any]]) -> list[Any]:
    """∂Ω of every image."""
    return [gradient(*image) for image in images]


def difference(batch: Any, single: list[Any]) -> float:
    """The largest difference between both over the largest derivative of the image."""
    pairs = [(host_array(x), host_array(y)) for x, y in zip(batch, single, strict=True)]
    return max(float(abs(x - y).max() / abs(y).max()) for x, y in pairs)


def main() -> None:
    asked = command(__doc__, gpu=True, images=(16, 3), side=(64, 16), labels=(10, 3), repeats=(41, 1))
    problems = [problem(asked.labels, asked.side, seed) for seed in range(asked.images)]
    images, together = [tuple(put(*x)) for x in problems], put(*map(np.stack, zip(*problems, strict=True)))
    apart = difference(gradient(*together), one_by_one(images))
    assert apart < 1e-5, f"the batch finds another ∂Ω than image by image: {apart:.0e} relative"
    taken = in_turns(
        {"batch": partial(gradient, *together), "one by one": partial(one_by_one, images)}, asked.repeats
    )  # fmt: skip
    rows = []
    for name, times in taken.items():
        wall, processor = np.median(times, axis=0) * 1e3
        ratios = over(times, taken["one by one"])
        row = {"images": asked.images, "side": asked.side, "J": asked.labels, "call": name, "ms": float(wall)}
        rows.append(row | {"processor ms": float(processor), "ratio": ratios[0], "processor ratio": ratios[1]})
    save(
        rows,
        f"A batch of {asked.images} images of {asked.side}² pixels with {asked.labels} labels takes "
        f"{rows[0]['ratio']:.2f} of the time of one by one, {rows[0]['processor ratio']:.2f} of the processor time; "
        f"∂Ω differs by {apart:.0e} at most, relative to the largest of an image.",
    )


if __name__ == "__main__":
    main()
