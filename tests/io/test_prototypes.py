"""Files of prototypes: every legal way to write a table, what is none, and the same numbers again after a save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpulaf.io import PrototypeTable, read_prototypes, write_prototypes

RGB = [[10.5, 20, 30], [40, 50, 60.25]]


@pytest.mark.parametrize(("text", "number"), [("7", 7), (" 12 ", 12), ("+3", 3), ("-3", -3), ("0", 0)])
def test_a_number_of_prototypes(text: str, number: int) -> None:
    assert read_prototypes(text) == number


@pytest.mark.parametrize("text", ["five", "1.5", "", " ", "²"])
def test_neither_number_nor_file(text: str) -> None:
    with pytest.raises(FileNotFoundError, match="accepted are a number of labels or a ") as caught:
        read_prototypes(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "lines",
    [
        ["10.5,20,30", "40,50,60.25"],
        ["10.5, 20, 3e1", "", "40, 50, 60.25", ""],
        ["red,green,blue", "10.5,20,30", "40,50,60.25"],
        ["10,5;20;30", "40;50;60,25"],
        ["rot;grün;blau", "10.5;20;30", "40;50;60.25"],
        ["sep=;", "10.5;20;30", "40;50;60.25"],
        ["10.5\t20\t30", "40\t50\t60,25"],
        ["# r g b", "1.05e+01 2.0e+01 3.0e+01", "4.0e+01 5.0e+01  6.025e+01"],
        ["10.5,20,30,", "40,50,60.25,", ",,,"],
        ['"10.5","20","30"', '"40","50","60.25"'],
    ],
    ids=lambda lines: lines[0],
)
def test_tables_of_spreadsheets_and_programs(tmp_path: Path, lines: list[str], coding: str, end: str) -> None:
    (tmp_path / "p.csv").write_bytes(end.join(lines).encode(coding))
    found = read_prototypes(str(tmp_path / "p.csv"))
    assert isinstance(found, PrototypeTable)
    np.testing.assert_array_equal(found.prototypes, RGB)
    assert (found.values, found.names) == (None, None)


@pytest.mark.parametrize(
    ("text", "values", "names"),
    [
        ("value,r,g,b\n7,10.5,20,30\n-300,40,50,60.25\n", [7, -300], None),
        ("name,r,g,b\nlake,10.5,20,30\nrock,40,50,60.25\n", None, ["lake", "rock"]),
        ("r,g,b,class\n10.5,20,30,lake\n40,50,60.25,rock\n", None, ["lake", "rock"]),
        ("Value,Name,0,1,2\n3,lake,10.5,20,30\n4,rock,40,50,60.25\n", [3, 4], ["lake", "rock"]),
        ("lake,10.5,20,30\nrock,40,50,60.25\n", None, ["lake", "rock"]),
        (",r,g,b\n0,10.5,20,30\n1,40,50,60.25\n", [0, 1], None),  # with the index of a data frame
        ('"lake, deep";10,5;20;30\nrock;40;50;60,25\n', None, ["lake, deep", "rock"]),
    ],
)
def test_values_and_names_of_labels(tmp_path: Path, text: str, values: Any, names: Any) -> None:
    (tmp_path / "p.csv").write_text(text)
    found = read_prototypes(str(tmp_path / "p.csv"))
    assert isinstance(found, PrototypeTable)
    np.testing.assert_array_equal(found.prototypes, RGB)
    assert (found.values, found.names) == (values, names)


@pytest.mark.parametrize(
    ("content", "prototypes", "values", "names"),
    [
        (RGB, RGB, None, None),
        ([10, 200], [10, 200], None, None),
        ({"lake": [1, 2], "rock": [3, 4]}, [[1, 2], [3, 4]], None, ["lake", "rock"]),
        ([{"value": 9, "prototype": [1]}, {"value": 5, "prototype": [2]}], [[1], [2]], [9, 5], None),
        ([{"prototype": 1, "name": "a"}, {"prototype": 2, "name": "b"}], [1, 2], None, ["a", "b"]),
    ],
)
def test_json(tmp_path: Path, content: Any, prototypes: Any, values: Any, names: Any) -> None:
    (tmp_path / "p.json").write_text(json.dumps(content))
    found = read_prototypes(str(tmp_path / "p.json"))
    assert isinstance(found, PrototypeTable)
    np.testing.assert_array_equal(found.prototypes, prototypes)
    assert (found.values, found.names) == (values, names)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.json", "", "Expecting value"),
        ("p.json", "{}", "empty or a single value"),
        ("p.json", "5", "empty or a single value"),
        ("p.json", "true", "empty or a single value"),
        ("p.json", "[[1, 2], [3]]", "row 2 has 1 values, the first 2"),
        ("p.json", '[["1"], ["2"]]', '"1" is no number'),
        ("p.json", "[[true], [2]]", "true is no number"),
        ("p.json", "[[1, 2], [3, 4", "Expecting"),
        ("p.json", '[{"value": 1}, {"value": 2}]', "an object in it has no prototype"),
        ("p.json", '[{"value": 1, "prototype": 1}, {"prototype": 2}]', "some of its objects have a value"),
        ("p.json", '[{"value": 1.5, "prototype": 1}]', "the value 1.5 of a label is no whole number"),
        ("p.csv", "", "it is empty"),
        ("p.csv", "\n\n", "it is empty"),
        ("p.csv", "r,g,b\n", "columns 1 and 2 hold no numbers"),
        ("p.csv", "1,2,3\n4,5\n", "line 2 has 2 values, the first 3"),
        ("p.csv", "r,g\n1,2,3\n", "line 2 has 3 values, the first 2"),
        ("p.csv", "1,,3\n4,5,6\n", "a cell in line 1 is empty"),
        ("p.csv", "1,2,3\n\n4,x,6\n", "'x' in line 3 is no number"),
        ("p.csv", "value,r\n1,2\n1,3\n", "two labels have the same value"),
        ("p.csv", "id,value,r\n1,2,3\n4,5,6\n", "columns 1 and 2 hold values of labels"),
        ("p.csv", "label\n1\n2\n", "no column of channels"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"holds no table of numbers \(.*\)\. Write one row per label") as caught:
        read_prototypes(str(tmp_path / name))
    assert said in str(caught.value)


def test_a_binary_file(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"\x80\x81,5\n"):
        (tmp_path / "p.csv").write_bytes(content)
        with pytest.raises(ValueError, match="holds no table of numbers"):
            read_prototypes(str(tmp_path / "p.csv"))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("names", [None, ["sea, deep", 'a "quoted" one', "Wüste"]])
def test_what_is_saved_is_read_bit_for_bit(tmp_path: Path, suffix: str, names: list[str] | None) -> None:
    table = np.random.default_rng(0).normal(size=(3, 4)) * [1e-9, 1, 1e9, 1e120]
    path = tmp_path / f"p{suffix}"
    write_prototypes(path, PrototypeTable(table, [5, -70_000, 2**40], names))
    found = read_prototypes(str(path))
    assert isinstance(found, PrototypeTable)
    np.testing.assert_array_equal(found.prototypes, table)
    assert (found.values, found.names) == ([5, -70_000, 2**40], names)


def test_other_types_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'\.txt'; accepted for prototypes are \.csv, \.json"):
        write_prototypes(tmp_path / "p.txt", PrototypeTable(np.eye(2)))
