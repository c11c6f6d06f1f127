"""The README and the pages of docs/ hold: what they show runs, numbers are those of the results, links lead somewhere.

Python runs, and so does every gpulaf command, on files of the names that the pages use.
"""

import csv
import json
import re
import subprocess
import sys
import tomllib
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from statistics import mean

import imageio.v3 as iio
import numpy as np
import pages  # docs/_ext
import pytest

from gpulaf.cli import main
from gpulaf.experiments import EXPERIMENTS, demo, depth, fig2, fig3, fig4, learning, space, subspace
from gpulaf.experiments.demo import run_demo
from gpulaf.integrators import Krylov
from gpulaf.learning.problem import ClosedForm
from gpulaf.prediction import Training
from gpulaf.scenes import voronoi_colors, voronoi_lines

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "perf" / "results"
DOCS = ROOT / "docs"
#: What start.md writes others read.
PAGES = [ROOT / "README.md", DOCS / "start.md", *sorted(set(DOCS.glob("*.md")) - {DOCS / "start.md"})]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
README = TEXTS["README.md"]
SNIPPETS = [
    pytest.param(code, name, id=f"{name}-{place}")
    for name, text in TEXTS.items()
    for place, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.S))
]
COMMANDS = [block for text in TEXTS.values() for block in re.findall(r"```bash\n(.*?)```", text, re.S)]


def test_there_is_something_to_test():
    assert len(SNIPPETS) >= 16
    assert sum(block.count("gpulaf ") for block in COMMANDS) >= 11


# what is shown runs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that the pages speak of, made by their own snippets where they write them."""
    folder = tmp_path_factory.mktemp("documentation")
    scene, colors, rng = voronoi_lines(48, sites=6), voronoi_colors(48, sites=6), np.random.default_rng(0)
    iio.imwrite(folder / "photo.png", (255 * colors.image.clip(0, 1)).astype(np.uint8))
    iio.imwrite(folder / "cells.png", (255 * scene.image[..., 0].clip(0, 1)).astype(np.uint8))
    iio.imwrite(folder / "truth.png", (255 * scene.truth).astype(np.uint8))
    np.save(folder / "probabilities.npy", rng.dirichlet(np.ones(4), (20, 30)).astype(np.float32))
    np.save(folder / "logits.npy", rng.standard_normal((20, 30, 4)).astype(np.float32))
    with chdir(folder):
        for code, name in (snippet.values for snippet in SNIPPETS):
            if "write_array(folder" in code or 'write_array("big.tif"' in code:
                exec(compile(code, name, "exec"), {})
    rmtree(folder / "big-lines.zarr")  # what stands for the label file is never overwritten
    return folder


@pytest.mark.parametrize(("code", "name"), SNIPPETS)
def test_python(code, name, files):
    if name == "docs/torch.md":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    with chdir(files):
        exec(compile(code, name, "exec"), {})


def test_a_newcomer_reads_at_most_eight_lines():
    start = TEXTS["docs/start.md"]
    first = start[start.index("## Five things to do") : start.index("## On the command line")]
    snippets = re.findall(r"```python\n(.*?)```", first, re.S)
    assert len(snippets) == 5
    assert max(len([line for line in code.splitlines() if line]) for code in snippets) <= 8


def test_the_readme_is_one_screen():
    assert len(README.splitlines()) <= 50


def test_commands(files):
    scene = voronoi_lines(48, sites=6)
    for command in "".join(COMMANDS).replace("\\\n", " ").splitlines():
        program, *arguments = command.split()
        assert program == "gpulaf"
        done = subprocess.run(
            [Path(sys.executable).with_name("gpulaf"), *arguments], cwd=files, capture_output=True, text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in ("labels.png", "preview.png", "weights.safetensors", "learned.png", "lines.png", "confusion.png"):
        assert (files / name).stat().st_size > 0
    assert (iio.imread(files / "learned.png") == 255 * scene.truth).mean() > 0.95
    unseen = iio.imread(files / "lines/unseen/truths/7.png")
    assert (iio.imread(files / "unseen.png") == unseen).mean() > 0.98


def test_the_command_of_the_readme(files):
    (command,) = re.findall(r"`gpulaf (label .*?)`", README)
    with chdir(files), pytest.raises(SystemExit) as stopped:
        main(command.replace("labels.png", "by-readme.png").split(), prog_name="gpulaf")
    assert stopped.value.code == 0


# numbers are those of the results


def measured(part, method):
    """Wrong pixels in percent of the first row of a method."""
    rows = json.loads((RESULTS / f"quality-{part.split()[0]}.json").read_text(encoding="utf-8"))["rows"]
    return next(row["wrong %"] for row in rows if (row["part"], row["method"]) == (part, method))


def reproduced(name, **kept):
    """Mean of the column of wrong pixels over the rows of a table of gpulaf reproduce that are so."""
    with (RESULTS / "reproduced" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in kept.items())]
    return {key: mean(float(row[key]) for row in rows) for key in rows[0] if key.endswith("wrong %")}


def says(page, sentence):
    assert sentence in " ".join(TEXTS[page].split()), sentence


def test_the_figure_of_the_demo_says_what_it_shows():
    shown = run_demo("colors", progress=False)
    pixelwise, uniform, learned = (100 * shown.wrong(title) for title in shown.panels)
    said = f"pixelwise labels are {pixelwise:.0f} % wrong, uniform averaging leaves {uniform:.0f} %, learned weights "
    for page in ("README.md", "docs/index.md", "docs/start.md"):
        says(page, said + f"{learned:.2f} %")


def test_predictors_are_as_good_as_unseen_says():
    lines, colors = "lines 0.5", "colors 0.55"
    best, usual, few = (measured(lines, way) for way in ("network, best", "network", "prototypes"))
    says("docs/unseen.md", f"{best:.1f} to {usual:.1f} % against {few:.1f}")
    says("docs/unseen.md", f"the best method without learning has {measured(lines, 'bilateral'):.1f}")
    cut, network = measured(colors, "min cut, plain"), measured(colors, "network, best")
    says("docs/unseen.md", f"a minimum cut has {cut:.2f} %, and a network with `label_state` {network:.2f}")


def test_learning_without_truth_is_as_its_page_says():
    rows = json.loads((RESULTS / "blind_spot.json").read_text(encoding="utf-8"))["rows"]

    def wrong(part, method):
        return mean(row["wrong %"] for row in rows if (row["part"], row["method"]) == (part, method))

    def told(*sentences):
        for sentence in sentences:
            says("docs/without-truth.md", sentence)

    lines, colors, em = "lines 0.3", "colors 0.55", "em"
    blurred = {blur: f"{lines}, noise blurred by {blur}" for blur in ("0.5", "0.7", "1")}
    few, many = ([wrong(lines, f"{count}, {how} truth") for how in ("without", "with")] for count in ("few", "many"))
    itself, larger, found = (
        wrong(lines, f"{method}, without truth{more}")
        for method, more in (("unseen images themselves", ""), ("few", ", noise × 1.5"), ("few", ", labels found"))
    )
    told(
        f"gets {measured(lines, 'bilateral'):.2f} % by bilateral",
        f"{measured(colors, 'uniform'):.2f} % by uniform weights and {measured(colors, 'min cut, plain'):.2f} % by a",
        f"{few[0]:.2f} % with four, {many[0]:.2f} % with sixteen larger ones, where truth brings {few[1]:.2f} and "
        f"{many[1]:.2f}.",
        f"themselves, {itself:.2f} % are wrong", f"the network leaves {larger:.2f} %", f"and leaves {found:.2f} %",
    )  # fmt: skip
    ways = "few, without truth", "few, with truth"
    for blur, words in (("0.5", " of the lines wrong"), ("0.7", "")):
        own, truth = (wrong(blurred[blur], way) for way in ways)
        told(f"it leaves {own:.2f} %{words} where truth leaves {truth:.2f} %")
    strong = [wrong(blurred["1"], way) for way in (ways[0], "pixelwise")]
    told("by one pixel {:.2f} %, more than pixelwise labels ({:.2f} %)".format(*strong))
    shares = [wrong(em, way) for way in ("without truth", "pixelwise", "uniform weights", "with truth")]
    told("of micrographs {:.1f} % are wrong".format(*shares), "as many as pixelwise ({1:.1f} %) and".format(*shares))
    told("with uniform weights ({2:.1f} %), against {3:.1f} % with truth".format(*shares))
    warned = {(row["part"], row["warned"]) for row in rows if row["warned"]}
    assert warned == {(part, "no") for part in (lines, colors)} | {(part, "yes") for part in (*blurred.values(), em)}
    estimate = next(row["sigma"] for row in rows if row["method"] == "few, without truth")
    told(f"The estimate was too large in these runs, {estimate:.2f}")
    labels = next(row["found"] for row in rows if row["found"]).replace("-", "−").split()
    told(f"it finds {labels[0][:-1]} and {labels[1][:-1]} for 1 and 0")


def test_depth_and_neighborhoods_are_as_reproduce_says():
    own, how = {"scene": "lines", "weights": "own weights"}, "predicted for unseen images"
    one, two = (
        reproduced("depth", **own, T="3.0", layers=count, how="learned on the image")["wrong %"] for count in "12"
    )
    says("docs/reproduce.md", f"leave {one:.1f} % wrong in one layer and single pixels in two")
    assert two < 0.05
    long = [reproduced("depth", **own, T="12.0", layers=count, how=how)["wrong %"] for count in "13"]
    says("docs/reproduce.md", f"({long[0]:.1f} % to {long[1]:.1f} % at T = 12)")
    small, large = (reproduced("neighborhoods", scene="colors", side=side) for side in "35")
    says(
        "docs/reproduce.md",
        f"{small['wrong %']:.1f} % to {large['wrong %']:.1f} %, uniform 5×5 weights {large['uniform wrong %']:.1f} %",
    )


def test_memory_is_as_reproduce_says():
    with (RESULTS / "reproduced" / "space.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["gradient"]: row for row in csv.DictReader(file)}  # the last of each, the largest
    kept = {name.split(",")[0]: round(float(row["floats per pixel"])) for name, row in rows.items()}
    krylov, wave, euler, auto = (
        kept[x] for x in ("Krylov", "the same in a wave", "autodiff of Euler", "autodiff of Krylov")
    )
    says("docs/reproduce.md", f"with two labels, {krylov} floats per pixel by Krylov spaces, {wave} in one wave")
    says("docs/reproduce.md", f"{euler} for backpropagation through 20 steps of Euler and {auto} through the Krylov")
    dense = float(rows["dense, Kronecker sum"]["bytes"]) / 1e6
    says("docs/reproduce.md", f"takes {dense:.0f} MB for 4×4 pixels")


def test_settings_are_those_of_the_experiments():
    def values(numbers):
        return ", ".join(f"{x:g}" for x in numbers)

    cells = {
        line.split("|")[1].strip(" `"): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in TEXTS["docs/reproduce.md"].splitlines()
        if line.startswith("| `")
    }
    assert set(cells) == {*EXPERIMENTS, "fig2-descent"}
    assert learning.RHO == 0.1
    assert repr(learning.RANK_ONE) == repr(ClosedForm(Krylov(10), rank=1))
    for name in ("fig1", "fig2", "fig2-descent", "fig5", "subspace", "space", "neighborhoods"):
        assert cells[name][1] == f"{learning.TIME:g}", name
    for name in ("fig2", "fig2-descent"):
        assert cells[name][3] == f"{learning.TAU:g}"
    assert cells["fig1"][5] == f"lines {demo.SCENES['lines'][1]:g}, colors {demo.SCENES['colors'][1]:g}"
    assert cells["fig2"][5] == f"{fig2.STEP:g}"
    plain, *others = (sizes for _, sizes in fig2.DESCENTS.values())
    assert {values(sizes) for sizes in others} == {values(others[0])}
    assert cells["fig2-descent"][5].startswith(f"the best of {values(plain)};")
    assert cells["fig2-descent"][5].endswith(f"of {values(others[0])}")
    assert cells["fig3"][1] == values(fig3.TIMES)
    assert f"ranks {values(fig3.RANKS)}," in cells["fig3"][2]
    assert cells["fig3"][5] == f"lines {fig3.SCENES['lines'][2]:g}, colors {fig3.SCENES['colors'][2]:g}"
    assert cells["fig4"][1].endswith(values(fig4.TIMES))
    assert f"m = {values(fig4.DIMENSIONS)}, full rank; m = 10, ranks {values(fig4.RANKS)};" in cells["fig4"][2]
    assert cells["fig4"][5] == f"{fig4.STEP:g}"
    assert cells["subspace"][5] == f"{subspace.STEP:g}"
    assert f"q = {space.NODES} nodes, n = {space.STEPS} steps" in cells["space"][2]
    assert cells["depth"][1] == f"{values(depth.TIMES)} in {values(depth.LAYERS)} layers"
    for name in ("fig5", "depth", "neighborhoods"):
        assert cells[name][5].startswith(f"Adam {Training().step_size:g}")


def test_tables_hold_the_results():
    table = pages.quality().splitlines()
    assert f"| {measured('lines 0.3', 'bilateral'):.2f} % |" in table[2]
    assert f"| {measured('colors 0.55', 'network, best'):.2f} % |" in next(x for x in table if "eight colors" in x)
    assert "| ρ = 3, T = 1, radius = 1 | ρ = 3, T = 1, σ = 0.4, radius = 1 |" in pages.settings()
    one = reproduced("depth", scene="lines", T="3.0", layers="1", weights="own weights", how="learned on the image")
    assert f"| lines, learned on the image, T = 3 | {one['wrong %']:.2f} |" in pages.layers()
    tables = (
        pages.patches, pages.ranks, pages.solvers, pages.gradients, pages.flips, pages.certificates, pages.label_sets
    )  # fmt: skip
    for table in tables:
        lines = [line for line in table().splitlines() if line.startswith("|")]
        assert len(lines) > 4
        assert len({line.count("|") for line in lines}) == 1


# nothing is left out, nothing leads nowhere


def test_every_public_name_is_documented_once():
    text = "\n".join(pages.api().values())
    written = re.findall(r"^\.\. auto(?:class|data|exception|function):: (.*)$", text, re.M)
    things = [getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in written]
    assert len(written) == len(set(written)) == len({id(thing) for thing in things})
    for room in pages.rooms():
        module = import_module(room)
        for name in set(module.__all__) - {"__version__"}:
            assert any(thing is getattr(module, name) for thing in things), f"{room}.{name}"


def test_every_command_and_option_is_told():
    text = pages.commands()
    for name, command in main.commands.items():
        part = text[text.index(f".. program:: gpulaf {name}\n") :]
        part = part[: part.find(".. code-block::", 1)]
        for option in (max(p.opts, key=len) for p in command.params if p.opts[0].startswith("-")):
            assert option == "--debug" or re.search(rf"^\.\. option:: .*{option}\b", part, re.M), (name, option)


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_pictures_lead_somewhere(page):
    folder = (ROOT / page).parent
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", TEXTS[page]):
        assert iio.imread(folder / picture).shape[0] > 400
    for link in re.findall(r"(?<!!)\[[^\]]*?\]\(([^)]*?)\)", TEXTS[page]):
        path, _, part = link.partition("#")
        if link.startswith("https://") or path.startswith(("generated/", "auto_gallery/")):
            continue
        assert not path or (folder / path).exists(), link
        if part:
            titles = re.findall(r"^#+ (.*)$", (folder / path).read_text() if path else TEXTS[page], re.M)
            assert part in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_the_gallery_is_complete():
    assert {path.stem for path in (DOCS / "gallery").glob("*.py")} == set(pages.GALLERY)


def test_the_citation_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
