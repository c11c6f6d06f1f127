"""What the simulated CuPy offers exists in the real package: names, parameters, values, ancestors of exceptions.

The real package needs no GPU for that. Both are asked in processes of their own, as each is called ``cupy``.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
#: Compiled functions that tell their parameters nowhere: of the simulation's names at most this share.
MOST_UNKNOWN = 0.1


#: Classes of which only the library itself makes instances.
INSIDE = {"cupy.ufunc", "cupy.cuda.memory.PooledMemory"}


def surface(*arguments, text=""):
    """What ``surface.py`` prints, in an interpreter that sees installed packages and nothing else."""
    command = [sys.executable, "-I", str(FOLDER / "surface.py"), *arguments]
    result = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=False)
    assert result.returncode == 0, f"{' '.join(command)}:\n{result.stderr}"
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def surfaces():
    """Names, with their descriptions, and errors of the simulation and of the real package."""
    simulated = surface(str(FOLDER))
    assert Path(simulated["file"]).is_relative_to(FOLDER)
    real = surface(text=json.dumps(list(simulated["names"])))
    assert not Path(real["file"]).is_relative_to(FOLDER)
    return simulated, real


def none(wrong):
    """Fail with every entry on a line of its own."""
    lines = list(wrong)
    assert not lines, "\n".join(["", *lines])


def test_every_name_exists(surfaces):
    simulated, real = (surface["names"] for surface in surfaces)
    assert len(simulated) > 100
    none(name for name in simulated if real[name] is None)


def test_every_name_is_of_the_same_kind(surfaces):
    simulated, real = (surface["names"] for surface in surfaces)
    none(
        f"{name}: {mine['kind']}, there {theirs['kind']}"
        for name, mine in simulated.items()
        if (theirs := real[name]) and mine["kind"] != theirs["kind"]
    )


def test_constants_have_the_same_value(surfaces):
    simulated, real = (surface["names"] for surface in surfaces)
    none(
        f"{name}: {mine['value']}, there {theirs.get('value')}"
        for name, mine in simulated.items()
        if "value" in mine and (theirs := real[name]) and mine["value"] != theirs.get("value")
    )


def test_exceptions_have_the_same_ancestors(surfaces):
    simulated, real = (surface["names"] for surface in surfaces)
    pairs = [(name, mine["ancestors"], real[name]) for name, mine in simulated.items() if mine["kind"] == "exception"]
    assert len(pairs) > 2
    none(
        f"{name}: {mine}, there {theirs['ancestors']}"
        for name, mine, theirs in pairs
        if theirs and mine != theirs.get("ancestors")
    )


def test_parameters_are_those_of_the_real_package(surfaces):
    simulated, real = (surface["names"] for surface in surfaces)
    compared, unknown, wrong = 0, [], []
    for name, mine in simulated.items():
        theirs = real[name]
        if not theirs or mine["kind"] != theirs["kind"] or mine["kind"] not in ("callable", "class", "exception"):
            continue
        if mine.get("parameters") is None or theirs.get("parameters") is None:
            unknown.append(name)
            continue
        if name in INSIDE or (name.endswith("__") and mine["parameters"] and operator(mine, theirs)):
            continue
        compared += 1
        if reason := differs(mine["parameters"], theirs["parameters"]):
            wrong.append(f"{name}: {reason}")
    print(f"{compared} compared; the parameters of {len(unknown)} are told nowhere: {', '.join(unknown)}")
    none(wrong)
    assert len(unknown) <= MOST_UNKNOWN * compared


def test_wrong_calls_raise_the_same(surfaces):
    simulated, real = (surface["errors"] for surface in surfaces)
    none(f"{call}: {simulated[call]}, there {error}" for call, error in real.items() if error != simulated[call])
    assert len([error for error in real.values() if error]) > 5


def operator(mine, theirs):
    """Whether two special methods take as many parameters, all by place; compiled ones may count ``self``."""
    plain = (kind in POSITIONAL for _, kind, _ in mine["parameters"] + theirs["parameters"])
    return all(plain) and len(theirs["parameters"]) - len(mine["parameters"]) in (0, 1)


def differs(mine, theirs):
    """How the parameters of the simulation differ from the real ones, which may be more; None if they do not."""
    known = {name: (kind, default) for name, kind, default in theirs}
    kinds = {kind for _, kind, _ in theirs}
    if {"VAR_POSITIONAL", "VAR_KEYWORD"} <= kinds:
        return None  # it forwards whatever it gets
    order = [name for name, kind, _ in theirs if kind in POSITIONAL]
    for place, (name, kind, default) in enumerate(mine):
        if kind.startswith("VAR"):
            if kind not in kinds:
                return f"takes {'*' * (1 + (kind == 'VAR_KEYWORD'))}{name}"
            continue
        if kind == "POSITIONAL_ONLY" or (place < len(order) and order[place] != name and only(order[place], known)):
            if place >= len(order) and "VAR_POSITIONAL" not in kinds:
                return f"takes {name} at place {place}"
            continue
        if name not in known:
            if "VAR_KEYWORD" in kinds and kind == "KEYWORD_ONLY":
                continue
            return f"takes {name}"
        if kind == "POSITIONAL_OR_KEYWORD" and (name not in order or order.index(name) != place):
            return f"takes {name} at place {place}"
        there = known[name][1]
        if (default is None) != (there is None):
            return f"{name} has the default {default}, there {there}"
        if "?" not in (default, there) and default != there:
            return f"{name} has the default {default}, there {there}"
    mine = {name for name, _, _ in mine}
    missing = [n for n, k, d in theirs if d is None and not k.startswith("VAR") and k != "POSITIONAL_ONLY"]
    return next((f"does not take {name}" for name in missing if name not in mine), None)


def only(name, known):
    """Whether a parameter has no name that a caller could use."""
    return known[name][0] == "POSITIONAL_ONLY"


@pytest.mark.parametrize(("mine", "reason"), [
    ([["a", "POSITIONAL_OR_KEYWORD", None]], "does not take out"),
    ([["a", "POSITIONAL_OR_KEYWORD", None], ["out", "POSITIONAL_OR_KEYWORD", "None"]], "out has the default None"),
    ([["a", "POSITIONAL_OR_KEYWORD", None], ["b", "POSITIONAL_OR_KEYWORD", "1"]], "takes b"),
    ([["out", "POSITIONAL_OR_KEYWORD", None]], "takes out at place 0"),
    ([["a", "POSITIONAL_OR_KEYWORD", None], ["rest", "VAR_KEYWORD", None]], "takes \\*\\*rest"),
])  # fmt: skip
def test_finds_other_parameters(mine, reason):
    theirs = [["a", "POSITIONAL_OR_KEYWORD", None], ["out", "POSITIONAL_OR_KEYWORD", None]]
    assert re.match(reason, differs(mine, theirs))
    assert differs(theirs, [*theirs, ["more", "KEYWORD_ONLY", "None"]]) is None
