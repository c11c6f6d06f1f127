"""Options at their edges: each is refused with its value, or does what the same number does in Python."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import check_lines, check_refusal, files_of, in_process
from odd_files import grey

import gpulaf

#: What is given to every option of a number.
VALUES = ("", " ", "x", "nan", "inf", "-inf", "-1", "0", "1e300", "1e-300", "-0", "0x10", "1,2", "é", "9" * 30, "1e5")
#: What else is given to some.
MORE = {
    "--features": ("patch:0", "patch:-1", "patch:", "patch:1000", "patch:1.5", "patch:1+", "gaussian:0", "gaussian:inf",
                   "gaussian:nan", "gaussian:1e9", "gaussian:1+patch:0", "hog"),
    "--axes": ("YX1", "YXYX", "XYZ", "C", "yy", "ÿx"),
    "--range": ("0,1,2", "0;1", "2,1", "0,0", ","),
    "--spacing": ("1,1,1,1", "0,1", "-1,1", "inf,1", "nan,nan", ",", "1"),
    "--memory": ("1XB", "-1GB", "0GB", "1e3GB", "GB", "1K"),
    "--device": ("cuda", "GPU", "cpu,gpu"),
}  # fmt: skip
PROTOTYPES = np.array([[60.0], [180.0]])


def python_label(**options: Any) -> np.ndarray:
    return gpulaf.label(grey(), PROTOTYPES, **options).labels


class Command(NamedTuple):
    """A command that works, its output, and its options: what is accepted of VALUES, by its labels (None: any)."""

    arguments: list[str]
    output: str
    accepted: dict[str, dict[str, Callable[[], Any] | None]]


LABEL = ["label", "im.npy", "--prototypes", "p.csv", "-o", "out.npy"]
BILATERAL = [*LABEL, "--weights", "bilateral"]
LEARN = ["learn", "im.npy", "truth.npy", "-o", "w.safetensors"]
TRAIN = ["train", "im.npy", "--truth", "truth.npy", "-o", "m.safetensors", "--prototypes", "2"]
#: What else names an option.
NAMED = {"--unlabeled": ("truth",), "--step-size": ("step is",)}
COMMANDS = {
    "label": Command(LABEL, "out.npy", {
        "--rho": {"1e5": lambda: python_label(rho=1e5)},
        "--time": {},
        "--tol": {"1e-300": None},
        "--channel-axis": {},
        "--series": {"0": python_label, "-0": python_label},
        "--nodata": {"-1": python_label},
        "--range": {"1,2": lambda: python_label(range=(1, 2))},
        "--spacing": {"1,2": lambda: python_label(spacing=(1, 2))},
        "--axes": {},
        "--prototypes": {},
        "--device": {},
        "--flow": {},
    }),
    "label bilateral": Command(BILATERAL, "out.npy", {"--sigma": {"1e5": None}}),
    "label in tiles": Command([*LABEL[:-1], "out.zarr"], "out.zarr", {
        "--tile": {}, "--memory": {"9" * 30: None}, "--workers": {},
    }),
    "refine": Command(["refine", "soft.npy", "-o", "out.npy"], "out.npy", {
        "--rho": {"1e5": None}, "--label-axis": {"-1": None}, "--time": {},
    }),
    "learn": Command([*LEARN, "--steps", "1"], "w.safetensors", {
        "--steps": {"0": None, "-0": None},
        "--step-size": {"1e5": None},
        "--radius": {},
        "--rho": {"1e5": None},
        "--time": {},
        "--layers": {},
        "--tol": {"1e-300": None},
        "--tau": {"0": None, "-0": None, "1e-300": None, "1e5": None},
        "--unlabeled": {"-1": None},
        "--range": {"1,2": None},
    }),
    "train": Command([*TRAIN, "--steps", "1"], "m.safetensors", {
        "--prototypes": {},
        "--features": {},
        "--radius": {},
        "--rho": {"1e5": None},
        "--time": {},
        "--layers": {},
        "--steps": {"0": None, "-0": None},
        "--step-size": {},
        "--batch": {},
        "--crop": {},
        "--patience": {},
        "--unlabeled": {"-1": None},
        "--seed": {"0": None, "-0": None},
    }),
    "demo": Command(["demo", "--steps", "0"], "gpulaf-colors.png", {"--size": {}, "--scene": {}}),
    "profile": Command(["profile"], "", {"--size": {}, "--labels": {}, "--dtype": {}}),
}  # fmt: skip

def cases() -> Iterator[Any]:
    for name, command in COMMANDS.items():
        for option in command.accepted:
            for value in (*VALUES, *MORE.get(option, ())):
                yield name, option, value


CASES = list(cases())


@cache
def soft() -> np.ndarray:
    return gpulaf.label(grey(), PROTOTYPES).probabilities


@pytest.mark.filterwarnings("ignore::gpulaf.DataWarning")
@pytest.mark.parametrize(("name", "option", "value"), CASES, ids=lambda x: repr(x).strip("'"))
def test_options(tmp_path: Path, name: str, option: str, value: str) -> None:
    command = COMMANDS[name]
    np.save(tmp_path / "im.npy", grey())
    np.save(tmp_path / "truth.npy", (grey() > 120).astype(np.uint8))
    np.save(tmp_path / "soft.npy", soft())
    (tmp_path / "p.csv").write_text("60\n180\n")
    before = files_of(tmp_path)
    done = in_process(tmp_path, *command.arguments, option, value)
    if done.code or value not in command.accepted[option]:
        names = (option, option.strip("-").replace("-", "_"), option.strip("-").replace("-", " "))
        said = check_refusal(done, (value.strip() or "''", *names, *NAMED.get(option, ())))
        assert files_of(tmp_path) == before
        assert value not in command.accepted[option], said
        return
    check_lines(done.errors.splitlines())
    assert {x.split("/")[0] for x in files_of(tmp_path)} == {*before, command.output}
    expected = command.accepted[option][value]
    if expected is not None:
        np.testing.assert_array_equal(np.load(tmp_path / command.output), expected())
