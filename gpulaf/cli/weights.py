"""What a weight file of gpulaf learn says besides the weights, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["checked_metadata"]

#: What gpulaf learn writes, and what it must be.
ENTRIES = {
    "prototypes": "a list of rows of numbers, as many in each, two rows or more",
    "rho": "a number from 1e-12 to 1e12",
    "time": "a positive number",
    "label_values": "a list of whole numbers, one for each row of prototypes",
    "range": "two increasing numbers or null",
}


def checked_metadata(path: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The prototypes, rho, time, label values and range that a weight file holds.

    Raises
    ------
    ValueError
        Where one is missing or no number, with the name of the file.
    """
    missing = [name for name in ENTRIES if name != "range" and name not in metadata]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. Write it again with gpulaf learn.")
    for name in ENTRIES:
        try:
            right = _is_right(name, metadata)
        except (ValueError, TypeError, OverflowError):
            right = False
        if not right:
            raise ValueError(
                f"{path} has damaged metadata: {name} is {metadata[name]!r:.60}; accepted is {ENTRIES[name]}. Write it "
                "again with gpulaf learn."
            )
    return metadata | {"prototypes": np.array(metadata["prototypes"], np.float64)}


def _is_right(name: str, metadata: dict[str, Any]) -> bool:
    from ..backend.validation import check_range, check_rho
    from ..integrators.base import check_time

    value: Any = metadata.get(name)
    if name == "range":
        check_range(value)
        return value is None or all(map(_is_number, value))
    if name in ("rho", "time"):
        (check_rho if name == "rho" else check_time)(value)
        return _is_number(value)
    if name == "label_values":
        whole = isinstance(value, list) and all(isinstance(x, int) and not isinstance(x, bool) for x in value)
        inside = whole and all(abs(x) < 2**63 for x in value)
        return inside and len(value) == len(metadata["prototypes"]) == len(set(value))
    rows = isinstance(value, list) and all(isinstance(row, list) and all(map(_is_number, row)) for row in value)
    table = np.array(value if rows else 0, np.float64)
    return table.ndim == 2 and table.shape[0] > 1 and table.shape[1] > 0 and bool(np.isfinite(table).all())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
