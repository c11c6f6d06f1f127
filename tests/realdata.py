"""The folder of real images; tests that need it skip with a reason where it is absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def realdata(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that reads real images."""
    absent = pytest.mark.skipif(not DATA.is_dir(), reason=f"the folder of real images, {DATA}, is absent")
    return pytest.mark.realdata(absent(test))
