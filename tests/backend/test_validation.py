"""Numbers and counts that users give: what is taken, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpulaf.backend.numbers import check_count, check_number


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(3), np.array(2.0), 1e-12, 1e12])
def test_numbers_become_those_of_python(value: Any) -> None:
    found = check_number(value, "rho")
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1.0], np.ones(1), object, {}, b"1"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^rho is .*; accepted are positive numbers\. Take 0\.1\.$"):
        check_number(value, "rho", usual="Take 0.1.")
    with pytest.raises(TypeError, match=r"^steps is .*; accepted are whole numbers from 1\. Take 9\.$"):
        check_count(value, "steps", usual="Take 9.")


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, -np.inf, 1e-13, 1e13, 1e300, 1e-300, 10**400])
def test_numbers_out_of_range(value: float) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^rho is .*; accepted are positive numbers"):
        check_number(value, "rho")


def test_ends_of_ranges_are_said() -> None:
    with pytest.raises(ValueError, match=r"^tau is -1; accepted are numbers from 0 to 1e12\.$"):
        check_number(-1, "tau", 0)
    with pytest.raises(ValueError, match=r"^tol is 2; accepted are positive numbers, from 1e-300 to 1\. Take 1\.$"):
        check_number(2, "tol", 1e-300, 1, "Take 1.")
    with pytest.raises(ValueError, match=r"^m is 11; accepted are whole numbers from 2 to 10, or None\.$"):
        check_count(11, "m", 2, 10, optional=True)


@pytest.mark.parametrize("value", [1, 7, np.uint8(1), np.array(3), 10**9])
def test_counts(value: Any) -> None:
    check_count(value, "steps")
    check_count(None, "steps", optional=True)


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, np.nan, np.inf, 10**9 + 1])
def test_numbers_that_count_nothing(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^steps is .*; accepted are whole numbers from 1"):
        check_count(value, "steps")
