"""The CUDA text, run on the CPU under the address and undefined-behavior sanitizers, equals ``reference``."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cuda_host.py")
KERNELS = (
    "operator", "adjoint", "similarity", "weight_gradient", "inner_products", "combination",
    "agreement", "cosine", "moments", "geodesic",
)  # fmt: skip


def run(folder, *arguments):
    """Run the script with the sanitizer loaded first, as an instrumented library in Python needs it."""
    sanitizer = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": sanitizer.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def compiler():
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the CUDA text cannot be run on the CPU")


@pytest.fixture(scope="module")
def report(compiler, tmp_path_factory):
    done = run(tmp_path_factory.mktemp("cuda_host"))
    assert done.returncode == 0, done.stderr[:4000]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_reference(report, kernel):
    count, worst = report[kernel]
    assert count >= 10
    assert worst <= 1, f"{worst} times the tolerance"


def test_finds_a_neighbor_read_outside_the_image(compiler, tmp_path):
    done = run(tmp_path, "border")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "common.cuh" in done.stderr


def test_finds_the_label_stride_of_another_layout(compiler, tmp_path):
    done = run(tmp_path, "stride")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "operator.cu" in done.stderr or "common.cuh" in done.stderr


def test_finds_a_wrong_formula(compiler, tmp_path):
    done = run(tmp_path, "formula")
    assert done.returncode == 0, done.stderr[:4000]
    assert json.loads(done.stdout)["operator"][1] > 1000
