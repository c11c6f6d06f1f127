"""Every instantiation of a kernel compiles for every architecture and keeps its values in registers.

NVRTC needs no device. ``python tests/kernels/test_cuda_compile.py FILE`` writes the table of registers as JSON.
"""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpulaf.kernels import _cuda, agreement, combination, inner_products

try:
    from cupy.cuda import nvrtc

    nvrtc.getVersion()
    missing = None
except Exception as error:  # a missing library surfaces in many types
    missing = f"NVRTC cannot be loaded: {error}"

needs_nvrtc = pytest.mark.skipif(missing is not None, reason=str(missing))

ARCHITECTURES = ("sm_80", "sm_90")
#: Bytes that larger patches or 64-bit indices may spill: at a step of the occupancy the compiler saves a few values
#: once per thread. A register array that did not fit costs hundreds.
SLACK = 32
INDICES = ("int", "long long")
DTYPES = {"float32": 4, "float64": 8}
STENCILS = ("operator", "adjoint", "similarity", "weight_gradient")
VECTORS = ("inner_products", "combination", "agreement", "cosine", "moments", "geodesic")


def instantiations(name, architecture):
    """Yield (dtype, constants) of the family that ships; a small part of it for all architectures but the last."""
    every = architecture == ARCHITECTURES[-1]
    for dtype, itemsize in DTYPES.items():
        if name == "inner_products":
            for rows, others in (inner_products.TILE, inner_products.TILE_ONE):
                for index in INDICES:
                    yield dtype, {"ROWS": rows, "OTHERS": others, "STEPS": inner_products.STEPS, "INDEX": index}
        elif name == "combination":
            for rows in (1, 2, combination.MOST_RESULTS):
                for index in INDICES:
                    yield dtype, {"ROWS": rows, "INDEX": index}
        elif name in ("agreement", "cosine", "moments", "geodesic"):
            for index in INDICES:
                yield dtype, {"INDEX": index, **({"SUMS": agreement.SUMS} if name in ("agreement", "cosine") else {})}
        else:
            products = name in ("operator", "adjoint")
            extra = {"REPLICATE": 1} if products else {}
            for radius in (1, 2, 3) if every else (1,):
                most = _cuda.most_labels(name, (2 * radius + 1) ** 2, itemsize)
                usual = {2, 8, 10, most} if every else {8, 10}
                for labels in sorted({0, *(n for n in usual if n <= most)}):
                    yield dtype, {"RADIUS": radius, "LABELS": labels, "INDEX": "int", **extra}
            for labels in (0, 2, _cuda.most_labels(name, 27, itemsize)) if every else (0,):
                yield dtype, {"RADIUS": 1, "REACH": 1, "LABELS": labels, "INDEX": "int", **extra}
            yield dtype, {"RADIUS": 1, "LABELS": 8 if every else 0, "INDEX": "long long", **extra}
            if products and every:
                yield dtype, {"RADIUS": 1, "LABELS": 8, "INDEX": "int", "REPLICATE": 0}


def common(label):
    """The kernels that nearly all work runs through: 3×3 patches, arrays below 2 GiB. They spill nothing."""
    return "INDEX=int" in label and "RADIUS=2" not in label and "RADIUS=3" not in label


def compiled(text, options, architecture):
    """The compiler's log: registers and spills; raises RuntimeError with the log of errors."""
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*options, f"-arch={architecture}", "--ptxas-options=-v"))
        return nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError:
        raise RuntimeError(nvrtc.getProgramLog(program)) from None
    finally:
        nvrtc.destroyProgram(program)


def usage(log):
    """Registers, spilled bytes and bytes of shared memory of every entry of a log."""
    pattern = (
        r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)"
    )
    entries = {}
    for entry, stores, loads, count, rest in re.findall(pattern, log, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", rest)
        entries[entry] = {
            "registers": int(count),
            "spills": int(stores) + int(loads),
            "shared": int(shared[1]) if shared else 0,
        }
    return entries


def table(name, architecture):
    """Registers of all instantiations of one kernel: {instantiation: {entry: usage}}."""

    def row(instantiation):
        dtype, constants = instantiation
        label = " ".join((dtype, *(f"{key}={value}" for key, value in constants.items())))
        return label, usage(compiled(_cuda.source(name), _cuda.options(dtype, **constants), architecture))

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(row, instantiations(name, architecture)))


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", [*STENCILS, *VECTORS])
def test_compiles_without_spills(name, architecture):
    rows = table(name, architecture)
    for label, entries in rows.items():
        assert f"{name}_kernel" in entries, label
        for entry, used in entries.items():
            print(f"{architecture} {entry} {label}: {used['registers']} registers, {used['shared']} bytes shared")
    spilled = {label: max(e["spills"] for e in entries.values()) for label, entries in rows.items()}
    excess = {label: n for label, n in spilled.items() if n > (0 if common(label) else SLACK)}
    assert not excess
    shared = max(used["shared"] for entries in rows.values() for used in entries.values())
    assert shared <= 48 * 1024


@needs_nvrtc
def test_finds_spills():
    crowded = _cuda.source("weight_gradient").replace("(THREADS, BLOCKS)", "(THREADS, 8)")
    log = compiled(crowded, _cuda.options("float32", RADIUS=1, LABELS=8), "sm_90")
    assert usage(log)["weight_gradient_kernel"]["spills"] > 0


@needs_nvrtc
@pytest.mark.parametrize("file", ["operator.cu", "common.cuh"])
def test_errors_name_the_file_and_line(file):
    lines = _cuda.text(file).splitlines()
    number = next(i for i, line in enumerate(lines) if "const INDEX first" in line or "struct Tile" in line)
    broken = _cuda.source("operator").replace(lines[number], lines[number] + " undeclared;")
    with pytest.raises(RuntimeError, match=rf"gpulaf/kernels/{file}\({number}\): error"):
        compiled(broken, _cuda.options("float32", RADIUS=1, LABELS=2, REPLICATE=1), "sm_90")


def test_source_holds_the_header_once():
    for name in (*STENCILS, *VECTORS):
        assert "#include" not in _cuda.source(name)
        assert _cuda.source(name).count("struct Pixel") == 1


def test_the_grid_covers_the_image():
    width, height = _cuda.BLOCK
    assert _cuda.tiles(1, 1) == _cuda.tiles(height, width) == 1
    assert _cuda.tiles(height + 1, width + 1) == 4
    assert _cuda.tiles(3 * height, 1) == 3
    assert _cuda.tiles(5, height + 1, width) == 10


def test_a_batch_is_an_axis_of_the_grid():
    image, volume = np.empty((4, 9, 5)), np.empty((3, 4, 27, 5))
    field = np.empty((2, 3, 4, 8, 5))
    assert _cuda.batch(image, field) == (2, 3)
    assert _cuda.batch(volume, field) == (2,)
    assert _cuda.grid(image, field) == (8, 4, 5, 1)
    assert _cuda.grid(volume, field) == (8, 4, 5, 3)
    assert _cuda.blocks_of(image, field) == 1
    assert _cuda.blocks_of(volume, field) == 3


def test_weights_for_each_image_or_for_all():
    field, volumes = np.empty((6, 4, 8, 5)), np.empty((2, 3, 4, 8, 5))
    for shape, apart in (((4, 9, 5), 0), ((1, 4, 9, 5), 0), ((6, 4, 9, 5), 4)):
        assert _cuda.apart(np.empty(shape), field) == apart
    assert _cuda.apart(np.empty((3, 4, 27, 5)), volumes) == 0
    assert _cuda.apart(np.empty((2, 3, 4, 27, 5)), volumes) == 12
    with pytest.raises(ValueError, match=r"2, 4, 9, 5\) are for 2 images.*has 6"):
        _cuda.apart(np.empty((2, 4, 9, 5)), field)


def test_a_batch_too_large_for_a_grid_is_refused():
    with pytest.raises(ValueError, match=r"65536 images.*up to 65535"):
        _cuda.launch("operator", 1, dtype=np.float32, images=65536)


def test_constants():
    small = np.empty((4, 9, 5), np.float32)
    large = np.broadcast_to(np.float32(0), (2**29, 1, 1))
    constants = {"RADIUS": 1, "REACH": 0, "LABELS": 8, "INDEX": "int"}
    assert _cuda.stencil_constants("operator", small, 8) == constants
    assert _cuda.stencil_constants("operator", small, 33)["LABELS"] == 0
    assert _cuda.stencil_constants("operator", small, 8, None, large)["INDEX"] == "long long"
    volume = np.empty((3, 4, 27, 5), np.float32)
    assert _cuda.stencil_constants("operator", volume, 8) == {**constants, "REACH": 1, "LABELS": 0}
    with pytest.raises(ValueError, match=r"1, 1, 125, 1\) reach 2 planes.*up to 1"):
        _cuda.stencil_constants("operator", np.empty((1, 1, 125, 1)), 2)
    assert "-DREAL=double" in _cuda.options(np.float64)


def main(path):
    """Write the registers of everything to a JSON file."""
    everything = {a: {name: table(name, a) for name in (*STENCILS, *VECTORS)} for a in ARCHITECTURES}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"nvrtc": list(nvrtc.getVersion()), **everything}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
