"""Do time per pixel and memory stay as images grow from file to file, and does a killed run end in the same bytes?

Grey images of thin lines under noise as Zarr arrays of 1024² chunks, 2 labels, T = 3. Each run is `gpulaf label` in
processes of its own, from its start to its end; memory is the sum over the process tree every 20 ms, shared pages
counted in each. The same labeling of 2048² pixels in memory runs before and after each; a ratio is time per pixel over
the mean of both, and so is one of processor times, which a busy machine changes less. What other programs took of the
cores meanwhile is in the column `others`. The largest image is labeled once more, killed halfway with SIGKILL and
started again. The folder of the images needs room for the largest two times.
"""

from __future__ import annotations

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
from typing import Any, NamedTuple

import numpy as np
from measure import ASKED, RESULTS, Rows, command, in_readme, save

import gpulaf
from gpulaf.plots.style import COLORS, canvas, plain

PROGRAM = [sys.executable, "-m", "gpulaf", "label"]
#: Gigabytes of the process tree, and time per pixel over that in memory, which are to be kept.
MEMORY, RATIO = 4.0, 1.25
#: The cluster of the plan: machines, cores of each.
MACHINES, CORES = 8, 16
#: Numbers of processes that are tried: up to 16, as the machine has cores.
PROCESSES = [n for n in (1, 2, 4, 8, 16) if n <= max(2, os.cpu_count() or 1)]
PROTOTYPES = np.array([25.5, 229.5])
#: The labels that those of the killed run are compared with.
WHOLE = "whole.ome.zarr"


class Sizes(NamedTuple):
    """Sides in pixels: of images, of the one that is cut in tiles, of tiles; of chunks, and of the image in memory."""

    images: tuple[int, ...]
    middle: int
    tiles: tuple[int, ...]
    block: int
    reference: int


USUAL = Sizes((2048, 4096, 8192, 16384), 4096, (512, 1024, 2048), 1024, 2048)
QUICK = Sizes((256,), 256, (64,), 64, 128)
SIZES = USUAL


def write_image(path: Path, side: int) -> None:
    """Lines of one block, repeated, under noise of their own."""
    import zarr

    block = SIZES.block
    sites = max(5, 1500 * block**2 // 1024**2)
    lines = gpulaf.scenes.voronoi_lines(block, sites=sites, noise=0.0, seed=1).image[..., 0]
    array = zarr.create_array(path, shape=(side, side), chunks=(block, block), dtype="u1")
    rng = np.random.default_rng(0)
    for y in range(0, side, block):
        for x in range(0, side, block):
            noisy = lines + 0.3 * rng.standard_normal(lines.shape, dtype=np.float32)
            array[y : y + block, x : x + block] = (255 * noisy.clip(0, 1)).astype(np.uint8)


def write_model(path: Path) -> gpulaf.Labeler:
    """A predictor of thin lines; its labeling."""
    side, steps = (32, 2) if ASKED.quick else (96, 40)
    scenes = [gpulaf.scenes.voronoi_lines(side, sites=side**2 // 512, noise=0.3, seed=seed) for seed in range(4)]
    predictor = gpulaf.WeightPredictor(training=gpulaf.prediction.Training(steps=steps))
    predictor.fit([s.image for s in scenes], [s.truth for s in scenes], progress=False)
    predictor.save(path)
    return predictor.labeler()


def in_memory(folder: Path, labeler: gpulaf.Labeler) -> np.ndarray:
    """Seconds and processor seconds per megapixel of an image in memory, the mean of two."""
    import zarr

    pixels, times = zarr.open_array(folder / f"{SIZES.reference}.zarr", mode="r")[:], []
    for _ in range(2):
        began = np.array([time.perf_counter(), time.process_time()])
        labeler(pixels)
        times.append(np.array([time.perf_counter(), time.process_time()]) - began)
    return np.mean(times, axis=0) / (SIZES.reference**2 / 1e6)


class Watch:
    """Memory of a process tree at its peak, and the processor time of everything else."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        import psutil

        self.process, self.peak, self.own = psutil.Process(process.pid), 0, {}
        self.began, self.busy = time.perf_counter(), self._busy()

    def look(self) -> None:
        """One sample."""
        import psutil

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
        import psutil

        times = psutil.cpu_times()
        return times.user + times.nice + times.system


def processor() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder: Path, arguments: list[str], kill_at: int | None = None) -> dict[str, float]:
    """Seconds, peak memory and the cores of others of one run; killed after so many tiles if asked for and in time."""
    began, spent = time.perf_counter(), processor()
    process = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch, journal = Watch(process), folder / f"{arguments[arguments.index('-o') + 1]}.partial/journal"
    while process.poll() is None:
        watch.look()
        if kill_at is not None and journal.exists() and journal.read_bytes().count(b"\n") >= kill_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    if process.returncode not in ((0,) if kill_at is None else (0, -signal.SIGKILL)):
        raise RuntimeError(f"gpulaf label {' '.join(arguments)} ended with {process.returncode}")
    times = {"seconds": time.perf_counter() - began, "cpu": processor() - spent}
    return times | {"peak GB": watch.peak / 1e9, "others": watch.others(), "killed": process.returncode != 0}


def measure(folder: Path, labeler: gpulaf.Labeler, what: dict[str, Any], keep: str = "") -> dict[str, Any]:
    """One row: an image labeled from file to file, between two labelings in memory."""
    output = keep or "out.ome.zarr"
    arguments = [f"{what['side']}.zarr", "-o", output]
    arguments += ["--model", "model.safetensors"] if what["weights"] == "predicted" else ["--prototypes", "p.csv"]
    arguments += ["--tile", str(what["tile"])] if what["tile"] else []
    arguments += ["--workers", str(what["processes"])]
    before = in_memory(folder, labeler)
    found = run(folder, arguments)
    reference = (before + in_memory(folder, labeler)) / 2
    del found["killed"]
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
        "killed after tiles": half if first["killed"] else "all",
        "seconds": [first["seconds"], second["seconds"]],
        "same bytes": contents(folder / "killed.ome.zarr") == contents(folder / WHOLE),
    }


def plan(row: dict[str, Any], tile: int, written: float) -> str:
    """10⁶ megapixels on a cluster, from the rate of one run and the bytes that it wrote per pixel."""
    pixels, here = 1e12, os.cpu_count() or 1
    hours = pixels / 1e6 * row["s/Mpixel"] * here / (MACHINES * CORES) / 3600
    halo, block = gpulaf.tiling.tile_halo(gpulaf.Labeler()), SIZES.block
    reads = (tile / block + 2) ** 2 / (tile / block) ** 2
    tiles, seconds = (10**6 / tile) ** 2, hours * 3600
    return (
        f"On paper, 10⁶ megapixels, a square of 10⁶ pixels a side: at {row['s/Mpixel']:.2f} s per megapixel on {here} "
        f"cores that is {pixels / 1e6 * row['s/Mpixel'] * here / 3600:.0f} core hours, {hours:.1f} hours on "
        f"{MACHINES} machines of {CORES} cores. "
        f"{tiles:,.0f} tiles of {tile}², {tiles / seconds:.0f} per second, with a halo of {halo}, "
        f"which is {100 * ((1 + 2 * halo / tile) ** 2 - 1):.1f} % more work. Chunks of {block}² are read "
        f"{reads:.2f} times on average, since the halo reaches into the neighbors: "
        f"{reads * pixels / seconds / 1e9:.2f} GB/s of 8-bit pixels unpacked. "
        f"Written are {written * pixels / 1e9:.0f} GB of labels with their pyramid "
        f"({written:.3f} bytes per pixel as here, on noisy lines), in {4 / 3 * (10**6 / block) ** 2:,.0f} files, "
        f"{written * pixels / seconds / 1e6:.0f} MB/s. In flight are {2 * MACHINES * CORES} tiles at most. This takes "
        "for granted that cores and disks of the cluster keep the pace of these, whatever their number."
    )


def main() -> None:
    global SIZES
    folder = {"--folder": {"type": Path, "help": "where images and labels are written; a temporary one if none"}}
    asked = command(__doc__, needs=("psutil", "zarr"), more=folder)
    SIZES = QUICK if asked.quick else USUAL
    with TemporaryDirectory(dir=asked.folder) as name:
        report(*measure_all(Path(name), [1] if asked.quick else PROCESSES))


def measure_all(folder: Path, processes: list[int]) -> tuple[Rows, dict[str, Any], str]:
    """Rows of all runs, that of the killed one, and the plan."""
    (folder / "p.csv").write_text("\n".join(f"{x:.17g}" for x in PROTOTYPES) + "\n")
    labelers = {"uniform": gpulaf.Labeler(PROTOTYPES), "predicted": write_model(folder / "model.safetensors")}
    for side in {*SIZES.images, SIZES.reference}:
        write_image(folder / f"{side}.zarr", side)
    for labeler in labelers.values():
        in_memory(folder, labeler)  # compiles
    rows, last, tile = [], SIZES.images[-1], SIZES.tiles[-1]
    for side in SIZES.images:
        for weights, labeler in labelers.items():
            keep = WHOLE if side == last and weights == "uniform" and not ASKED.quick else ""
            what = {"side": side, "tile": 0, "processes": 1, "weights": weights}
            rows.append(measure(folder, labeler, what, keep))
    for count in processes:
        for side in SIZES.tiles:
            keep = WHOLE if ASKED.quick else ""  # the images are one tile each otherwise
            what = {"side": SIZES.middle, "tile": side, "processes": count, "weights": "uniform"}
            rows.append(measure(folder, labelers["uniform"], what, keep))
    written = sum(p.stat().st_size for p in (folder / WHOLE).rglob("*") if p.is_file()) / last**2
    again = killed(folder, last, tile)
    return rows, again, plan(next(r for r in rows if r["side"] == last), tile, written)


def report(rows: Rows, again: dict[str, Any], text: str) -> None:
    """Table, figure, answer, and the plan in README.md beside the usual results."""
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
    save(rows, f"{answer} {text}", figure)
    if ASKED.output == RESULTS:
        in_readme("large", "\n\n".join(fill(part, 120, break_on_hyphens=False) for part in (answer, text)))


def figure(rows: Rows) -> Any:
    from matplotlib.ticker import NullLocator

    plot, (panels,) = canvas(1, 3, width=4, height=4)
    titles = "seconds per megapixel", "peak memory of all processes, GB"
    for color, weights in zip(COLORS, ("uniform", "predicted"), strict=False):
        kept = [row for row in rows if row["weights"] == weights and not row["tile"]]
        x = [row["side"] for row in kept]
        for panel, key in zip(panels, ("s/Mpixel", "peak GB"), strict=False):
            panel.plot(x, [row[key] for row in kept], "o-", color=color, label=f"{weights} weights")
        label = f"{weights}, {SIZES.reference}² in memory"
        panels[0].plot(x, [row["in memory"] for row in kept], "--", color=color, label=label)
    panels[1].axhline(MEMORY, color="0.6", ls=":")
    tiled = [row for row in rows if row["tile"]]
    for color, processes in zip(COLORS, sorted({row["processes"] for row in tiled}), strict=False):
        kept = [row for row in tiled if row["processes"] == processes]
        tiles, times = [row["tile"] for row in kept], [row["s/Mpixel"] for row in kept]
        panels[2].plot(tiles, times, "o-", color=color, label=f"{processes} process{'es' if processes > 1 else ''}")
    for panel, title in zip(panels, (*titles, f"seconds per megapixel, {SIZES.middle}²"), strict=True):
        sides = sorted({row["tile"] for row in tiled}) if panel is panels[2] else x
        plain(panel, title, "side of the tiles" if panel is panels[2] else "side of the image in pixels", "")
        panel.set(xscale="log", ylim=(0, None))
        panel.set_xticks(sides, [str(side) for side in sides])
        panel.xaxis.set_minor_locator(NullLocator())
    for panel in (panels[0], panels[2]):
        panel.legend(frameon=False, fontsize=8)
    return plot


if __name__ == "__main__":
    main()
