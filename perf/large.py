"""Do time per pixel and memory stay as images grow from file to file, and does a killed run end in the same bytes?

    python perf/large.py [--quick] [--folder FOLDER]

Grey images of thin lines under noise as Zarr arrays of 1024² chunks, 2 labels, T = 3. Each run is `gpulaf label` in
processes of its own, from its start to its end; memory is the sum over the process tree every 20 ms, shared pages
counted in each. `gpulaf.label` on 2048² pixels in memory, with the same series, runs before and after each; a ratio is
time per pixel over the mean of both, and so is one of processor times, which a busy machine changes less. What other
programs took of the cores meanwhile is in the column `others`. The largest image is labeled once more, killed halfway
with SIGKILL and started again. FOLDER needs room for 16384² pixels two times.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

import numpy as np
import psutil
import zarr
from measure import RESULTS, save

import gpulaf
from gpulaf.backend.validation import image_features

PROGRAM = [sys.executable, "-m", "gpulaf", "label"]
BLOCK, REFERENCE = 1024, 2048
#: Gigabytes of the process tree, and time per pixel over that in memory, which are to be kept.
MEMORY, RATIO = 4.0, 1.25
#: The cluster of the plan: machines, cores of each.
MACHINES, CORES = 8, 16
#: Numbers of processes that are tried: up to 16, as the machine has cores.
PROCESSES = [n for n in (1, 2, 4, 8, 16) if n <= max(2, os.cpu_count() or 1)]
PROTOTYPES = np.array([[0.1], [0.9]])


def write_image(path: Path, side: int) -> None:
    """Lines of one block, repeated, under noise of their own."""
    lines = gpulaf.scenes.voronoi_lines(BLOCK, sites=1500, noise=0.0, seed=1).image[..., 0]
    array = zarr.create_array(path, shape=(side, side), chunks=(BLOCK, BLOCK), dtype="u1")
    rng = np.random.default_rng(0)
    for y in range(0, side, BLOCK):
        for x in range(0, side, BLOCK):
            noisy = lines + 0.3 * rng.standard_normal(lines.shape, dtype=np.float32)
            array[y : y + BLOCK, x : x + BLOCK] = (255 * noisy.clip(0, 1)).astype(np.uint8)


def write_model(path: Path) -> gpulaf.WeightPredictor:
    """A predictor of thin lines, its series fixed."""
    scenes = [gpulaf.scenes.voronoi_lines(96, sites=18, noise=0.3, seed=seed) for seed in range(4)]
    predictor = gpulaf.WeightPredictor()
    images, truths = [s.image for s in scenes], [s.truth for s in scenes]
    predictor.fit(images, truths, training=gpulaf.prediction.Training(steps=40), progress=False)
    predictor.save(path)
    return predictor.set_params(integrator=predictor.solver.fixed(predictor.time))


def in_memory(folder: Path, predictor: gpulaf.WeightPredictor, weights: str) -> np.ndarray:
    """Seconds and processor seconds per megapixel of an image in memory, the mean of two."""
    pixels, times = zarr.open_array(folder / f"{REFERENCE}.zarr", mode="r")[:], []
    for _ in range(2):
        began = np.array([time.perf_counter(), time.process_time()])
        if weights == "predicted":
            predictor.label(pixels)
        else:
            features = image_features(pixels)[0]
            gpulaf.label(features, PROTOTYPES, integrator=gpulaf.Taylor().fixed(3.0))
        times.append(np.array([time.perf_counter(), time.process_time()]) - began)
    return np.mean(times, axis=0) / (REFERENCE**2 / 1e6)


class Watch:
    """Memory of a process tree at its peak, and the processor time of everything else."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.peak, self.own = psutil.Process(process.pid), 0, {}
        self.began, self.busy = time.perf_counter(), self._busy()

    def look(self) -> None:
        """One sample."""
        try:
            tree = [self.process, *self.process.children(recursive=True)]
            self.peak = max(self.peak, sum(p.memory_info().rss for p in tree))
            self.own |= {p.pid: sum(p.cpu_times()[:2]) for p in tree}
        except psutil.NoSuchProcess:
            pass

    def others(self) -> float:
        """Cores that other programs kept busy."""
        taken = self._busy() - self.busy - sum(self.own.values())
        return max(0.0, taken / (time.perf_counter() - self.began))

    @staticmethod
    def _busy() -> float:
        times = psutil.cpu_times()
        return times.user + times.nice + times.system


def processor() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder: Path, arguments: list[str], kill_at: int | None = None) -> dict[str, float]:
    """Seconds, peak memory and the cores of others of one run; killed after so many tiles if asked for."""
    began, spent = time.perf_counter(), processor()
    process = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch, journal = Watch(process), folder / f"{arguments[arguments.index('-o') + 1]}.partial/journal"
    while process.poll() is None:
        watch.look()
        if kill_at is not None and journal.exists() and journal.read_bytes().count(b"\n") >= kill_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    if process.returncode != (0 if kill_at is None else -signal.SIGKILL):
        raise RuntimeError(f"gpulaf label {' '.join(arguments)} ended with {process.returncode}")
    times = {"seconds": time.perf_counter() - began, "cpu": processor() - spent}
    return times | {"peak GB": watch.peak / 1e9, "others": watch.others()}


def measure(folder: Path, predictor: gpulaf.WeightPredictor, what: dict[str, Any], keep: str = "") -> dict[str, Any]:
    """One row: an image labeled from file to file, between two labelings in memory."""
    output = keep or "out.ome.zarr"
    arguments = [f"{what['side']}.zarr", "-o", output]
    arguments += ["--model", "model.safetensors"] if what["weights"] == "predicted" else ["--prototypes", "p.csv"]
    arguments += ["--tile", str(what["tile"])] if what["tile"] else []
    arguments += ["--workers", str(what["processes"])]
    before = in_memory(folder, predictor, what["weights"])
    found = run(folder, arguments)
    reference = (before + in_memory(folder, predictor, what["weights"])) / 2
    if not keep:
        shutil.rmtree(folder / output)
    each = np.array([found["seconds"], found.pop("cpu")]) / (what["side"] ** 2 / 1e6)
    row = what | found
    for k, (name, ratio) in enumerate((("s/Mpixel", "ratio"), ("cpu s/Mpixel", "cpu ratio"))):
        more = "in memory" if k == 0 else "cpu in memory"
        row |= {name: float(each[k]), more: float(reference[k]), ratio: float(each[k] / reference[k])}
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def contents(path: Path) -> str:
    """Digest of every name and byte under a folder."""
    found = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        found.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def killed(folder: Path, side: int, tile: int) -> dict[str, Any]:
    """The largest image once more, killed halfway and started again."""
    arguments = [f"{side}.zarr", "-o", "killed.ome.zarr", "--prototypes", "p.csv", "--tile", str(tile)]
    half = (side // tile) ** 2 // 2
    first, second = run(folder, arguments, kill_at=half), run(folder, arguments)
    return {
        "side": side,
        "killed after tiles": half,
        "seconds": [first["seconds"], second["seconds"]],
        "same bytes": contents(folder / "killed.ome.zarr") == contents(folder / "whole.ome.zarr"),
    }


def plan(row: dict[str, Any], tile: int, written: float) -> str:
    """10⁶ megapixels on a cluster, from the rate of one run and the bytes that it wrote per pixel."""
    pixels, here = 1e12, os.cpu_count() or 1
    hours = pixels / 1e6 * row["s/Mpixel"] * here / (MACHINES * CORES) / 3600
    halo = gpulaf.tiling.tile_halo(3.0)
    reads = (tile / BLOCK + 2) ** 2 / (tile / BLOCK) ** 2
    tiles, seconds = (10**6 / tile) ** 2, hours * 3600
    return (
        f"On paper, 10⁶ megapixels, a square of 10⁶ pixels a side: at {row['s/Mpixel']:.2f} s per megapixel on {here} "
        f"cores that is {pixels / 1e6 * row['s/Mpixel'] * here / 3600:.0f} core hours, {hours:.1f} hours on "
        f"{MACHINES} machines of {CORES} cores. "
        f"{tiles:,.0f} tiles of {tile}², {tiles / seconds:.0f} per second, with a halo of {halo}, "
        f"which is {100 * ((1 + 2 * halo / tile) ** 2 - 1):.1f} % more work. Chunks of {BLOCK}² are read "
        f"{reads:.2f} times on average, since the halo reaches into the neighbors: "
        f"{reads * pixels / seconds / 1e9:.2f} GB/s of 8-bit pixels unpacked. "
        f"Written are {written * pixels / 1e9:.0f} GB of labels with their pyramid "
        f"({written:.3f} bytes per pixel as here, on noisy lines), in {4 / 3 * (10**6 / BLOCK) ** 2:,.0f} files, "
        f"{written * pixels / seconds / 1e6:.0f} MB/s. In flight are {2 * MACHINES * CORES} tiles at most. This takes "
        "for granted that cores and disks of the cluster keep the pace of these, whatever their number."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    sides = (1024, 2048) if options.quick else (2048, 4096, 8192, 16384)
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "p.csv").write_text("\n".join(f"{255 * x:.17g}" for x in PROTOTYPES[:, 0]) + "\n")
        predictor = write_model(folder / "model.safetensors")
        for side in {*sides, REFERENCE}:
            write_image(folder / f"{side}.zarr", side)
        for weights in ("uniform", "predicted"):
            in_memory(folder, predictor, weights)  # compiles
        rows, middle = [], sides[-3] if len(sides) > 3 else sides[0]
        for side in sides:
            for weights in ("uniform", "predicted"):
                keep = "whole.ome.zarr" if side == sides[-1] and weights == "uniform" else ""
                what = {"side": side, "tile": 0, "processes": 1, "weights": weights}
                rows.append(measure(folder, predictor, what, keep))
        for processes in PROCESSES:
            for tile in (512, 1024, 2048):
                what = {"side": middle, "tile": tile, "processes": processes, "weights": "uniform"}
                rows.append(measure(folder, predictor, what))
        whole = folder / "whole.ome.zarr"
        tile = 2048 if not options.quick else 512
        written = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file()) / sides[-1] ** 2
        if options.quick:
            shutil.rmtree(whole)
            run(folder, [f"{sides[-1]}.zarr", "-o", whole.name, "--prototypes", "p.csv", "--tile", str(tile)])
        again = killed(folder, sides[-1], tile)
    report(rows, again, plan(next(r for r in rows if r["side"] == sides[-1]), tile, written), options.quick)


def report(rows: list[dict[str, Any]], again: dict[str, Any], text: str, quick: bool) -> None:
    """Table, figure, answer, and the plan in README.md."""
    largest = [row for row in rows if row["side"] == again["side"] and not row["tile"]]
    each = "; ".join(
        f"{row['weights']} weights {row['s/Mpixel']:.2f} s per megapixel, {row['ratio']:.2f} of the image in memory "
        f"({'kept' if row['ratio'] <= RATIO else 'missed'}: {RATIO}) and {row['cpu ratio']:.2f} of its processor time, "
        f"{row['peak GB']:.2f} GB "
        f"({'kept' if row['peak GB'] < MEMORY else 'missed'}: {MEMORY:g})"
        for row in largest
    )
    same = "is the same byte for byte" if again["same bytes"] else "DIFFERS"
    answer = (
        f"{again['side']}² pixels from file to file: {each}. Killed after {again['killed after tiles']} tiles and "
        f"{again['seconds'][0]:.0f} s, and started again for {again['seconds'][1]:.0f} s, the result {same}. "
        f"Other programs kept {min(r['others'] for r in largest):.1f} to "
        f"{max(r['others'] for r in largest):.1f} cores busy meanwhile."
    )
    if quick:
        print(f"{answer}\n\n{text}")
        return
    figure(rows)
    save("large", rows, f"{answer} {text}")
    readme = RESULTS.parent / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition("<!-- large: -->\n")
    _, _, tail = rest.partition("<!-- :large -->")
    if tail:
        lines = "\n\n".join(fill(part, 120, break_on_hyphens=False) for part in (answer, text))
        readme.write_text(f"{head}<!-- large: -->\n{lines}\n<!-- :large -->{tail}", encoding="utf-8")


def figure(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from gpulaf.io.images import write_figure
    from gpulaf.plots.figures import QUALITATIVE

    plot = Figure(figsize=(12, 4), layout="constrained")
    panels = plot.subplots(1, 3)
    for color, weights in zip(QUALITATIVE, ("uniform", "predicted"), strict=False):
        kept = [row for row in rows if row["weights"] == weights and not row["tile"]]
        x = [row["side"] for row in kept]
        for panel, key, label in zip(panels, ("s/Mpixel", "peak GB"), (f"{weights} weights",) * 2, strict=False):
            panel.plot(x, [row[key] for row in kept], "o-", color=color, label=label)
        panels[0].plot(x, [row["in memory"] for row in kept], "--", color=color, label=f"{weights}, 2048² in memory")
    panels[1].axhline(MEMORY, color="0.6", ls=":")
    for panel, title in zip(panels, ("seconds per megapixel", "peak memory of all processes, GB"), strict=False):
        panel.set(xscale="log", xlabel="side of the image in pixels", ylim=(0, None), title=title)
        panel.set_xticks(x, [str(side) for side in x])
        panel.xaxis.set_minor_locator(NullLocator())
    panels[0].legend(frameon=False, fontsize=8)
    tiled = [row for row in rows if row["tile"]]
    for color, processes in zip(QUALITATIVE, PROCESSES, strict=False):
        kept = [row for row in tiled if row["processes"] == processes]
        tiles, times = [row["tile"] for row in kept], [row["s/Mpixel"] for row in kept]
        panels[2].plot(tiles, times, "o-", color=color, label=f"{processes} process{'es' if processes > 1 else ''}")
    panels[2].set(xlabel="side of the tiles", ylim=(0, None), title=f"seconds per megapixel, {tiled[0]['side']}²")
    panels[2].set_xscale("log")
    panels[2].set_xticks(tiles, [str(tile) for tile in tiles])
    panels[2].xaxis.set_minor_locator(NullLocator())
    panels[2].legend(frameon=False, fontsize=8)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    write_figure(RESULTS / "large.png", plot)


if __name__ == "__main__":
    main()
