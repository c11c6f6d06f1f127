"""Results that cannot be written where they were asked for are written elsewhere, and said to be there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gpulaf.io.results import Results


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folder of the results, the current one, and that of temporary files."""
    made = {name: tmp_path / name for name in ("output", "current", "temporary")}
    for path in made.values():
        path.mkdir()
    monkeypatch.chdir(made["current"])
    monkeypatch.setattr(tempfile, "tempdir", str(made["temporary"]))
    return made


def writer(*full: Path) -> Callable[[Path], None]:
    """Write a text, except to full folders."""

    def write(path: Path) -> None:
        if any(path.is_relative_to(folder) for folder in full):
            raise OSError(f"{path} cannot be written: No space left on device.")
        path.write_text("what was learned")

    return write


def failing(write: Callable[[Path], None], *paths: Path, mistake: Exception | None = None) -> tuple[list[Path], str]:
    """Where results were written, and what was said about those that failed."""
    found = list[Path]()
    try:
        with Results() as results:
            found = [results.write(path, write) for path in paths]
            if mistake is not None:
                raise mistake
    except OSError as error:
        return found, str(error)
    return found, ""


def test_what_can_be_written_is(folders: dict[str, Path]) -> None:
    paths = [folders["output"] / "w", Path("v")]
    assert failing(writer(), *paths) == (paths, "")
    assert Path("v").read_text() == "what was learned"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_first_folder_that_is_not_full_takes_the_result(folders: dict[str, Path], count: int) -> None:
    full, top = list(folders.values())[:count], folders["output"].parent
    (found, other), said = failing(writer(*full), folders["output"] / "w.safetensors", top / "other")
    assert other == top / "other"
    assert other.read_text() == "what was learned"  # the others follow
    texts = [path for path in top.rglob("*") if path.is_file() and path != other]
    assert said.startswith(f"{folders['output']}/w.safetensors cannot be written: No space left on device. ")
    if count == 3:
        assert texts == []
        assert said.endswith("No other folder took it, either: it is lost.")
        assert os.listdir(folders["temporary"]) == []
        return
    assert texts == [found]
    assert found.read_text() == "what was learned"
    assert found.name == "w.safetensors"
    assert found.is_relative_to(list(folders.values())[count])
    assert said.endswith(f"It is in {found} instead.")


def test_a_file_that_is_there_is_never_replaced(folders: dict[str, Path]) -> None:
    for name in ("w.ome.tif", "rescued-1-w.ome.tif"):
        (folders["current"] / name).write_text("old")
    found, _ = failing(writer(folders["output"]), folders["output"] / "w.ome.tif")
    assert found == [folders["current"] / "rescued-2-w.ome.tif"]
    assert (folders["current"] / "w.ome.tif").read_text() == "old"


def test_a_name_that_became_a_folder_has_a_free_one_beside_it(folders: dict[str, Path]) -> None:
    (folders["output"] / "w").mkdir()
    found, said = failing(writer(), folders["output"] / "w")
    assert found == [folders["output"] / "rescued-1-w"]
    assert "Is a directory" in said


def test_folders_that_are_gone(folders: dict[str, Path]) -> None:
    folders["output"].rmdir()
    folders["current"].rmdir()
    (found,), _ = failing(writer(), folders["output"] / "w")
    assert found.is_relative_to(folders["temporary"])
    assert found.read_text() == "what was learned"


def test_another_mistake_does_not_hide_where_results_are(folders: dict[str, Path]) -> None:
    target, mistake = folders["output"] / "w", ValueError("7 is no figure")
    _, said = failing(writer(folders["output"]), target, mistake=mistake)
    assert said.endswith(f"It is in {folders['current']}/w instead. 7 is no figure")
    with pytest.raises(ValueError, match="7 is no figure"):
        failing(writer(), target, mistake=mistake)
