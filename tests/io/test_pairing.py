"""Images and truths by name: files, folders, globs; what matches, and what is refused rather than guessed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpulaf.io import FileWarning
from gpulaf.io.pairing import expanded, paired


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("images", "truths"),
    [
        (["a/x.png", "a/y.png"], ["b/y.tif", "b/x.npy"]),
        (["image_00.png", "image_10.png"], ["truth_10.png", "truth_00.png"]),
        (["im_07_raw.tif", "im_08_raw.tif"], ["gt-08.png", "gt-07.png"]),
        (["cat.jpg", "dog.jpg"], ["dog_mask.png", "cat_mask.png"]),
        (["slice1.png", "slice2.png", "slice12.png"], ["12.png", "1.png", "2.png"]),
        (["d/case1/image.png", "d/case2/image.png"], ["d/case2/truth.png", "d/case1/truth.png"]),
        (["d/1/image.png", "d/2/image.png"], ["t/2.png", "t/1.png"]),
        (["a.png", "a_2.png"], ["b_2.png", "b.png"]),
        (["photo.png"], ["its_truth.png"]),
    ],
)
def test_names_that_match(images: list[str], truths: list[str]) -> None:
    found = paired(paths(*images), paths(*truths))
    assert found == paths(*reversed(truths)) if len(images) == 2 else set(found) == set(paths(*truths))
    numbers = [[re.findall(r"\d+", str(p)) for p in side] for side in (images, found)]
    assert numbers[0] == numbers[1]
    assert paired(paths(*reversed(images)), paths(*truths)) == found[::-1]


@pytest.mark.parametrize(
    ("images", "truths", "said"),
    [
        # equal beginnings and endings of words and of numbers are no reason
        (["img_10.png", "img_11.png"], ["gt_20.png", "gt_21.png"], "no truth for the image img_10.png, img_11.png"),
        (["cat_im.png", "car_im.png"], ["bat_gt.png", "bar_gt.png"], "no truth for the image cat_im.png, car_im.png"),
        (["a1.png", "b1.png"], ["a1.png", "b1.png"], "given as an image and as its truth"),
        (["x.png", "y.png"], ["t/x.png"], "no truth for the image y.png. Accepted"),
        (["x.png"], ["t/x.png", "t/y.png"], "no image for the truth t/y.png. Accepted"),
        (["i_1.png", "i_2.png"], ["t_2.png", "t_3.png"], "the image i_1.png; no image for the truth t_3.png"),
        ([f"i_{k}.png" for k in range(9)], ["t_20.png", "t_21.png"], "i_0.png, i_1.png, i_2.png and 6 more"),
        (["a/x.png", "b/x.png"], ["t/x.png", "u/x.png"], "no truth for the image a/x.png, b/x.png; no image for"),
        (["x.png", "x.tif"], ["t/x.png", "t/y.png"], "no truth for the image x.png, x.tif"),
        (["1.png", "2.png"], ["t/01.png", "t/02.png"], "no truth for the image 1.png, 2.png"),
    ],
)
def test_names_that_do_not_match(images: list[str], truths: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        paired(paths(*images), paths(*truths))
    assert "quoted glob" in str(error.value)


def test_the_error_says_what_the_others_are() -> None:
    with pytest.raises(ValueError, match=r"no probabilities for the image x\.png.*image_03, probabilities_03"):
        paired(paths("x.png", "y.png"), paths("y.npy"), "probabilities")


@given(
    st.lists(st.integers(0, 9999), min_size=2, max_size=12, unique=True), st.randoms(),
    st.sampled_from(["truth_{}", "{}_truth", "gt{}", "t-{}-x", "{}"]),
)  # fmt: skip
def test_numbered_files_are_paired_by_their_number(numbers: list[int], random: object, pattern: str) -> None:
    images = [Path(f"images/image_{n}.png") for n in numbers]
    truths = [Path(f"truths/{pattern.format(n)}.png") for n in numbers]
    shuffled = list(truths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert paired(images, shuffled) == truths


def test_files_folders_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.TIF", "c.npy", ".hidden.png", "notes.txt", "deep/d.png", "[1].png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"")
    os.mkdir("empty")
    assert expanded(["."]) == paths("[1].png", "a.TIF", "b.png", "c.npy")
    assert expanded(["*.png", "deep"]) == paths("[1].png", "b.png", "deep/d.png")
    for again in ("b.png", "./b.png", os.path.abspath("b.png")):
        with pytest.warns(FileWarning, match="b.png is named twice; it is taken once."):
            assert expanded(["*.png", again]) == paths("[1].png", "b.png")
    assert expanded(["**/d.*"]) == paths("deep/d.png")
    assert expanded(["[1].png"]) == paths("[1].png")
    assert expanded([Path("c.npy"), "b.png"]) == paths("c.npy", "b.png")
    assert expanded(["notes.txt"]) == paths("notes.txt")  # named, so that reading it says what is wrong
    for source, said in (
        ("none.png", r"none\.png does not exist.*quotes"),
        ("none/*.png", r"none/\*\.png matches no image file; accepted are \.bmp, .*\.png"),
        ("*.txt", r"\*\.txt matches no image file"),
        ("empty", "empty holds no image file"),
    ):
        with pytest.raises(FileNotFoundError, match=said):
            expanded([source])


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", np.zeros(2))
    assert expanded(["~/*.npy"]) == [tmp_path / "x.npy"]
