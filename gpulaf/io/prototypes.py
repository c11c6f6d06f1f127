"""Files of label prototypes, .csv and .json: a row for each label, with its value and name where they are known."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .atomic import whole_file

__all__ = ["PrototypeTable", "check_prototype_file", "read_prototypes", "write_prototypes"]

#: How the first line of a .csv may call the values of labels, and their names.
VALUES, NAMES = ("", "value", "label", "class", "id", "index"), ("name", "label", "class")
#: The next step for a file that is none.
NEXT = "Write one row per label with one value per channel."
BYTE_ORDERS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class PrototypeTable(NamedTuple):
    """What a file of prototypes says."""

    #: (J, C) array in the units of the image; (J,) where each row is a single number of a .json.
    prototypes: np.ndarray
    #: What stands for each label in label images; None where the file does not say it.
    values: list[int] | None = None
    names: list[str] | None = None


def read_prototypes(text: str) -> int | PrototypeTable:
    """A number of labels, or a JSON or CSV file with one row of channel values per label.

    A CSV may be separated by commas, semicolons (then with decimal commas, too), tabs or spaces, and have a first line
    of headings, empty lines, lines of comments (#), and columns called ``value`` and ``name``. A JSON holds rows, an
    object of names and rows, or objects with ``prototype`` and, where known, ``value`` and ``name``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or does not hold a table of numbers.
    """
    if re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        return int(text)
    path = Path(text)
    if not path.exists() and path.suffix.lower() in (".csv", ".json"):
        raise FileNotFoundError(f"{text} does not exist. Check the path of the prototypes.")
    if not path.is_file():
        raise FileNotFoundError(f"prototypes are {text!r}; accepted are a number of labels or a .json or .csv file.")
    try:
        content = _decoded(path.read_bytes())
        return _of_json(content) if path.suffix.lower() == ".json" else _of_csv(content)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no table of numbers ({str(error).rstrip('.')}). {NEXT}") from error


def check_prototype_file(path: Path) -> None:
    """Raise ValueError for a name that prototypes cannot be saved to."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"{path} ends in {path.suffix!r}; accepted for prototypes are .csv, .json.")


def write_prototypes(path: str | os.PathLike[str], table: PrototypeTable) -> None:
    """Write prototypes so that :func:`read_prototypes` gives the same numbers, whole or not at all."""
    path = Path(path)
    check_prototype_file(path)
    count = len(table.prototypes)
    rows = np.asarray(table.prototypes, np.float64).reshape(count, -1).tolist()
    values = list(range(count)) if table.values is None else table.values
    if path.suffix.lower() == ".json":
        named: Sequence[dict[str, Any]] = [{}] * count if table.names is None else [{"name": n} for n in table.names]
        content = [{"value": v} | name | {"prototype": row} for v, name, row in zip(values, named, rows, strict=True)]
        text = "[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in content) + "\n]\n"
    else:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        extra = [] if table.names is None else ["name"]
        writer.writerow(["value", *extra, *(f"channel {c}" for c in range(len(rows[0])))])
        for j, (value, row) in enumerate(zip(values, rows, strict=True)):
            writer.writerow([value, *([] if table.names is None else [table.names[j]]), *map(repr, row)])
        text = lines.getvalue()
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark."""
    coding = next((name for mark, name in BYTE_ORDERS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(coding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8, by its byte {error.start}") from None


def _of_json(text: str) -> PrototypeTable:
    content = json.loads(text)
    values = names = None
    if isinstance(content, dict):
        names, content = list(content), list(content.values())
    elif isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        if any("prototype" not in row for row in content):
            raise ValueError("an object in it has no prototype")
        for key in ("value", "name"):
            if 0 < sum(key in row for row in content) < len(content):
                raise ValueError(f"some of its objects have a {key} and others have none")
        values = _whole([row["value"] for row in content]) if "value" in content[0] else None
        names = [str(row["name"]) for row in content] if "name" in content[0] else None
        content = [row["prototype"] for row in content]
    if not isinstance(content, list) or not content:
        raise ValueError("it is empty or a single value")
    rows = [row if isinstance(row, list) else [row] for row in content]
    _check_lengths(rows, range(1, len(rows) + 1), "row")
    for cell in (cell for row in rows for cell in row):
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            raise ValueError(f"{json.dumps(cell)} is no number")
    table = np.array(rows, dtype=np.float64)
    flat = not any(isinstance(row, list) for row in content)
    return PrototypeTable(table[:, 0] if flat else table, values, names)


def _of_csv(text: str) -> PrototypeTable:
    numbers, rows = _cells(text)
    if not rows:
        raise ValueError("it is empty")
    heads: list[str] = []
    first = [cell.lower() for cell in rows[0]]
    if len(rows) > 1 and (all(_number(cell) is None for cell in first) or {*VALUES[1:], *NAMES} & {*first}):
        heads, rows, numbers = first, rows[1:], numbers[1:]
    _check_lengths([heads, *rows] if heads else rows, [1, *numbers] if heads else numbers, "line")
    columns = list(zip(*rows, strict=True))
    texts = [k for k, column in enumerate(columns) if all(cell and _number(cell) is None for cell in column)]
    named = [k for k, head in enumerate(heads) if head in VALUES and k not in texts]
    for found, what in ((texts, "no numbers"), (named, "values of labels")):
        if len(found) > 1:
            raise ValueError(f"its columns {found[0] + 1} and {found[1] + 1} hold {what}")
    if texts and texts[0] not in (0, len(columns) - 1) and not (heads and heads[texts[0]] in NAMES):
        raise ValueError(f"its column {texts[0] + 1} holds no numbers")
    table = [
        [_parsed(cell, number) for k, cell in enumerate(row) if k not in texts + named]
        for row, number in zip(rows, numbers, strict=True)
    ]
    if not table[0]:
        raise ValueError("it has no column of channels")
    values = _whole([_parsed(cell) for cell in columns[named[0]]]) if named else None
    return PrototypeTable(np.array(table), values, list(columns[texts[0]]) if texts else None)


def _cells(text: str) -> tuple[list[int], list[list[str]]]:
    """Numbers and cells of the lines that hold any; what separates them is the first that occurs of ; tab , space."""
    lines = text.splitlines()
    told = re.fullmatch(r'"?sep=(.)"?', lines[0].strip()) if lines else None  # how a spreadsheet says it
    skipped = {0} if told else set()
    skipped |= {k for k, line in enumerate(lines) if line.lstrip().startswith("#")}
    body = [(k + 1, line) for k, line in enumerate(lines) if k not in skipped and line.strip()]
    separator = told[1] if told else next((s for s in ";\t," if any(s in line for _, line in body)), " ")
    numbers, rows = [], []
    for number, line in body:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        cells = [cell.strip() for cell in (line.split() if separator == " " else cells)]
        if any(cells):
            numbers.append(number)
            rows.append([cell.replace(",", ".") if _decimal(cell, separator) else cell for cell in cells])
    while rows and len(rows[0]) > 1 and all(not row[-1] for row in rows):  # a separator at the end of every line
        rows = [row[:-1] for row in rows]
    return numbers, rows


def _decimal(cell: str, separator: str) -> bool:
    """Whether a cell is a number with a decimal comma."""
    return separator != "," and re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell) is not None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _parsed(cell: str, line: int | None = None) -> float:
    found = _number(cell)
    if found is None:
        where = "" if line is None else f" in line {line}"
        raise ValueError(f"{cell!r}{where} is no number" if cell else f"a cell{where} is empty")
    return found


def _check_lengths(rows: Sequence[Sequence[Any]], numbers: Sequence[int], what: str) -> None:
    """Raise ValueError where rows have other lengths than the first."""
    for row, number in zip(rows, numbers, strict=True):
        if not row or len(row) != len(rows[0]):
            raise ValueError(f"{what} {number} has {len(row)} values, the first {len(rows[0])}")


def _whole(values: Sequence[Any]) -> list[int]:
    """Values of labels, checked: different whole numbers."""
    strange = [v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or v != int(v)]
    if strange:
        raise ValueError(f"the value {strange[0]!r} of a label is no whole number")
    found = [int(v) for v in values]
    if len(set(found)) < len(found):
        raise ValueError("two labels have the same value")
    return found
