"""The plan of the house: imports point one way, heavy libraries load late, examples in docstrings hold."""

import ast
import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gpulaf

ROOT = Path(__file__).parent.parent

# bottom to top; a room (a package, or a module beside them) imports only rooms of earlier rows
FLOORS = [
    {"kernels", "fields", "_version", "scenes"},
    {"backend"},
    {"io", "integrators", "simplex"},
    {"averaging"},
    {"flows"},
    {"learning", "labeling"},
    {"prediction", "tiling"},
    {"profiling", "plots", "torch"},
    {"experiments", "napari"},
    {"cli"},
    {"__main__"},
]
#: Rooms and modules that need the extra of a name, and are imported by their users alone.
EXTRAS = {"gpulaf.torch": "torch", "gpulaf.napari.widgets": "napari"}
#: Rooms that bring the others into PyTorch and napari.
GUESTS = {"torch", "napari"}
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def needed_extra(name):
    """The extra that a module needs, or None."""
    return next((extra for own, extra in EXTRAS.items() if f"{name}.".startswith(f"{own}.")), None)


def imports(path, package):
    """Rooms of gpulaf that a file imports anywhere, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            name = ".".join([*base, *([node.module] if node.module else [])])
            names = [name] if node.module else [f"{name}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("gpulaf."):
                yield name.split(".")[1]


def rooms():
    for path in sorted((ROOT / "gpulaf").rglob("*.py")):
        parts = path.relative_to(ROOT / "gpulaf").with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path, ".".join(["gpulaf", *parts[:-1]])


@pytest.mark.parametrize(("room", "path", "package"), list(rooms()), ids=lambda x: getattr(x, "name", None))
def test_imports_point_upwards(room, path, package):
    for other in imports(path, package):
        if other == room:
            continue
        assert FLOOR[other] < FLOOR[room], f"{room} imports {other}"


def test_integrators_do_not_import_each_other():
    for path in (ROOT / "gpulaf/integrators").glob("*.py"):
        if path.stem in ("euler", "krylov", "taylor"):
            modules = [n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
            assert not {"euler", "krylov", "taylor"} & set(modules)


def test_the_house_is_small():
    """The rooms for other programs, which nothing imports, stand beside it."""
    arrows = {(room, other) for room, path, package in rooms() for other in imports(path, package) if other != room}
    assert not {other for _, other in arrows} & GUESTS
    arrows = {(room, other) for room, other in arrows if room not in GUESTS}
    assert len(FLOOR) <= 22
    assert len(FLOORS) <= 11
    assert len(arrows) <= 90, sorted(arrows)


def test_every_package_is_installed():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "gpulaf").rglob("__init__.py")}
    assert set(named) == found | {"gpulaf.kernels"}


def test_kernels_import_nothing_of_gpulaf():
    for path in (ROOT / "kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2
                assert not (node.module or "").startswith("gpulaf")


def test_import_is_light_and_cupy_never_imported():
    code = (
        "import sys, gpulaf; heavy = {'numba', 'matplotlib', 'dask', 'cupy', 'scipy', 'tifffile', 'imageio', 'tqdm'};"
        "heavy.add('torch');"
        "heavy |= {'napari', 'magicgui', 'qtpy'};"
        "print(sorted(heavy & set(sys.modules)));"
        "import numpy as np; gpulaf.label(np.random.default_rng(0).random((8, 8)), 2); print('cupy' in sys.modules,"
        "'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False False"]


def test_python_in_an_uninstalled_checkout_finds_the_kernels():
    code = "import gpulaf, gpulaf.kernels.stencil as s; print(gpulaf.__file__, s.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [os.path.realpath(path) for path in done.stdout.split()]
    assert found == [str(ROOT / "gpulaf/__init__.py"), str(ROOT / "kernels/stencil.py")]


def test_the_public_face():
    assert len(gpulaf.__all__) <= 30
    stub = ast.parse((ROOT / "gpulaf/__init__.pyi").read_text(encoding="utf-8"))
    names = {alias.name for node in stub.body for alias in node.names}
    assert set(gpulaf.__all__) < names == set(dir(gpulaf))
    for name in names:
        assert name == "__version__" or getattr(gpulaf, name).__doc__, name


@pytest.mark.parametrize("package", [path.parent.name for path in sorted((ROOT / "gpulaf").glob("*/__init__.py"))])
def test_packages_say_what_is_in_them(package):
    if extra := needed_extra(f"gpulaf.{package}"):
        pytest.importorskip(extra, reason=f"needs the extra {extra}")
    module = importlib.import_module(f"gpulaf.{package}")
    assert module.__doc__
    if package not in ("cli", "experiments"):
        for path in (ROOT / "gpulaf" / package).glob("[a-z]*.py"):
            assert f"`{path.stem}`" in module.__doc__, path.name
    for name in getattr(module, "__all__", []):
        assert getattr(module, name).__doc__, name


def test_versions_agree():
    from importlib.metadata import version

    assert version("gpulaf") == gpulaf.__version__
    assert f"## {gpulaf.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def modules():
    for info in pkgutil.walk_packages(gpulaf.__path__[:1], "gpulaf."):
        if "kernels" not in info.name and "__main__" not in info.name:
            yield info.name


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples(name):
    if extra := needed_extra(name):
        pytest.importorskip(extra, reason=f"needs the extra {extra}")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder()
    names = [name for name in modules() if not needed_extra(name)]
    examples = [e for name in names for t in finder.find(importlib.import_module(name)) for e in t.examples]
    assert len(examples) >= 5
