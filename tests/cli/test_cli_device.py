"""The commands on a GPU write what they write on the CPU."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import write_example

import gpulaf
from gpulaf import WeightPredictor
from gpulaf.backend import dispatch
from gpulaf.backend.array import gpu_missing, is_device_array
from gpulaf.cli import main
from gpulaf.io import read_tensors
from gpulaf.io.images import read_image, write_array

pytestmark = pytest.mark.skipif(gpu_missing() is not None, reason=str(gpu_missing()))
QUICK = ["--steps", "4", "--prototypes", "8"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image with its truth, probabilities and logits, and images to train on."""
    write_example(tmp_path)
    for name in ("images", "truths"):
        (tmp_path / name).mkdir()
    for k in range(3):
        scene = gpulaf.scenes.voronoi_lines(32, sites=6, noise=0.25, seed=k)
        pixels = (255 * scene.image[..., 0].clip(0, 1)).round().astype(np.uint8)
        write_array(tmp_path / f"images/image_{k}.png", pixels)
        write_array(tmp_path / f"truths/truth_{k}.png", np.array([40, 200], np.uint8)[scene.truth])
    logits = np.random.default_rng(0).standard_normal((32, 32, 2)).astype(np.float32)
    write_array(tmp_path / "logits.npy", logits)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Kernels that run on the device."""
    found: set[str] = set()
    original = dispatch.implementation

    def implementation(name: str, array: Any) -> Any:
        if is_device_array(array):
            found.add(name)
        return original(name, array)

    for module in [m for m in sys.modules.values() if getattr(m, "implementation", None) is original]:
        monkeypatch.setattr(module, "implementation", implementation)
    return found


def both(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Standard output on the CPU and on the GPU; ``{}`` in the arguments is the device."""
    printed = []
    for device in ("cpu", "gpu"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([a.replace("{}", device) for a in (*arguments, "--device", device)], prog_name="gpulaf")
        output, errors = capsys.readouterr()
        assert (stopped.value.code, errors) == (0, "")
        printed.append(output)
    return printed[0], printed[1]


def close(name: str, tolerance: float = 1e-4) -> None:
    """Compare the files of both devices."""
    one, other = (read_image(Path(name.replace("{}", device))) for device in ("cpu", "gpu"))
    assert one.dtype == other.dtype
    if one.dtype.kind == "f":
        np.testing.assert_allclose(one, other, atol=tolerance)
    else:
        assert (one != other).mean() < 0.005


@pytest.mark.parametrize("options", ["", "--sigma 0.2", "--flow nonlinear --time 6"])
def test_label(folder: Path, capsys: Any, used: set[str], options: str) -> None:
    both(capsys, "label", "im.png", "-o", "{}.png", "--probabilities", "{}.npy", "--prototypes", "2", *options.split())
    close("{}.png")
    close("{}.npy")
    assert "similarity" in used


@pytest.mark.parametrize("options", ["", "--image im.png --sigma 0.2"])
def test_refine(folder: Path, capsys: Any, used: set[str], options: str) -> None:
    both(capsys, "refine", "logits.npy", "--logits", "-o", "{}.png", "--probabilities", "{}.npy", *options.split())
    close("{}.png")
    close("{}.npy")
    assert {"similarity", "chain"} <= used


def test_learn_and_label(folder: Path, capsys: Any, used: set[str]) -> None:
    both(capsys, "learn", "im.png", "truth.png", "-o", "{}.safetensors", "--steps", "6")
    one, other = (read_tensors(folder / f"{device}.safetensors", "weights")[0]["weights"] for device in ("cpu", "gpu"))
    np.testing.assert_allclose(one, other, atol=1e-4)
    both(capsys, "label", "im.png", "--weights", "{}.safetensors", "-o", "{}.png")
    close("{}.png")
    assert {"agreement", "cosine", "weight_gradient", "moments", "geodesic", "combination"} <= used


def test_train_evaluate_and_label(folder: Path, capsys: Any, used: set[str]) -> None:
    both(capsys, "train", "images", "--truth", "truths", "-o", "{}.safetensors", *QUICK)
    one, other = (WeightPredictor.load(folder / f"{device}.safetensors") for device in ("cpu", "gpu"))
    np.testing.assert_allclose(one.tangents_, other.tangents_, atol=2e-3)
    first, second = both(capsys, "evaluate", "images", "--truth", "truths", "--model", "cpu.safetensors")
    numbers = [[float(x) for x in re.findall(r"\d+\.\d+", text)] for text in (first, second)]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.2)
    both(capsys, "label", "im.png", "--model", "cpu.safetensors", "-o", "{}.png")
    close("{}.png")
    assert {"similarity", "chain", "weight_gradient"} <= used


def test_profile(folder: Path, capsys: Any) -> None:
    both(capsys, "profile", "--size", "32", "--labels", "3", "-o", "{}")
    record = json.loads((folder / "gpu/profile.json").read_text(encoding="utf-8"))
    assert record["machine"] != json.loads((folder / "cpu/profile.json").read_text(encoding="utf-8"))["machine"]
    assert all(stage["seconds"] > 0 for stage in record["stages"])
    assert {stage["name"] for stage in record["stages"]} >= {"similarity", "combination"}


def test_demo(folder: Path, capsys: Any) -> None:
    both(capsys, "demo", "--size", "32", "--steps", "4", "-o", "{}")
    assert read_image(next((folder / "gpu").glob("*.png"))).std() > 10
