"""Every kernel implementation against its `reference`, and the references against dense matrices."""

import importlib
import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from gpulaf.kernels import (
    adjoint,
    combination,
    inner_products,
    operator,
    reverse_horner,
    similarity,
    stencil,
    weight_gradient,
)
from oracles import dense_average, relative, tol

from gpulaf import kernels
from gpulaf.averaging.patches import normalize_weights
from gpulaf.backend.array import host_array
from gpulaf.backend.dispatch import implementation

# 1×n, n×1, smaller than the patch, beyond one block of columns, odd everything
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 6), (33, 17), (2, 2150)]
VOLUMES = [(1, 1, 1), (1, 4, 5), (3, 1, 7), (2, 5, 1), (4, 7, 9), (2, 3, 2150)]


def operands(labels, shape, radius, dtype, seed=0):
    rng = np.random.default_rng(seed)
    weights = normalize_weights(rng.random(((2 * radius + 1) ** len(shape), *shape)))
    l, u, v = (rng.standard_normal((labels, *shape)) for _ in range(3))
    S = np.exp(u) / np.exp(u).sum(axis=0)
    return tuple(x.astype(dtype) for x in (weights, S, l, u, v))


@pytest.mark.parametrize("shape", [*SHAPES, *VOLUMES])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("labels", [2, 5])
def test_fast_equals_reference(xp, dtype, shape, radius, labels):
    weights, S, l, u, v = operands(labels, shape, radius, dtype)
    left, right = np.stack([u, v]), np.stack([v, l])
    cases = [
        (similarity, (weights, l)),
        (operator, (weights, S, v)),
        (operator, (weights, None, v)),
        (operator, (weights, S, v, u, 0.3)),
        (operator, (weights, None, v, u, -2.0)),
        (adjoint, (weights, S, u)),
        (adjoint, (weights, None, u)),
        (adjoint, (weights, S, u, v, 0.3)),
        (adjoint, (weights, None, u, v, -2.0)),
        (weight_gradient, (weights, S, l, u, left, right, left + right)),
    ]
    for module, arguments in cases:
        name = module.__name__.rsplit(".", 1)[1]
        expected = module.reference(*(np.asarray(a, np.float64) if isinstance(a, np.ndarray) else a for a in arguments))
        found = implementation(name, xp(weights))(*(xp(a) if isinstance(a, np.ndarray) else a for a in arguments))
        if module is similarity:
            expected, found = ((S, np.max(host_array(bound)).reshape(1)) for S, bound in (expected, found))
        for x, y in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected)), strict=True):
            assert relative(x, y) < tol(dtype), name


@pytest.mark.parametrize("labels", [1, 2, 3, 8, 17, 33, 40])
@pytest.mark.parametrize("radius", [1, 2, 3, 4])
def test_any_number_of_labels(xp, dtype, labels, radius):
    weights, S, _, u, v = operands(labels, (6, 7), radius, dtype)
    for module, field in ((operator, v), (adjoint, u)):
        found = implementation(module.__name__.rsplit(".", 1)[1], xp(weights))(xp(weights), xp(S), xp(field))
        expected = module.reference(*(np.asarray(a, np.float64) for a in (weights, S, field)))
        assert relative(found, expected) < tol(dtype)


@pytest.mark.parametrize("shape", [(1, 5), (4, 5), (2, 2), (1, 1, 3), (3, 2, 4), (2, 4, 1)])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_reference_against_dense_matrix(shape, radius):
    weights, S, l, u, v = operands(3, shape, radius, np.float64)
    omega, n = dense_average(weights), int(np.prod(shape))

    def average(x, matrix):
        return (x.reshape(-1, n) @ matrix.T).reshape(x.shape)

    def replicate(x):
        return np.stack([S[j] * (x[j] - sum(S[k] * x[k] for k in range(3))) for j in range(3)])

    assert relative(operator.reference(weights, None, v), average(v, omega)) < 1e-14
    assert relative(operator.reference(weights, S, v), replicate(average(v, omega))) < 1e-14
    assert relative(adjoint.reference(weights, S, u), average(replicate(u), omega.T)) < 1e-14
    exponential = np.exp(average(l, omega))
    S, bound = similarity.reference(weights, l)
    assert relative(S, exponential / exponential.sum(axis=0)) < 1e-14
    assert bound == (2 * S * (1 - S)).max()


@pytest.mark.parametrize("shape", [*SHAPES, (67, 40), (9, 4300)])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("degree", [1, 2, 5])
def test_reverse_horner_in_one_wave_equals_its_definition(xp, dtype, shape, radius, degree):
    arguments = operands(3, shape, radius, dtype)[:4]
    c = 1.5 ** np.arange(1, degree + 1) / np.cumprod(np.arange(1, degree + 1))
    expected = reverse_horner.reference(*(np.asarray(a, np.float64) for a in arguments), c)
    found = implementation("reverse_horner", xp(arguments[0]))(*map(xp, arguments), c)
    for x, y in zip(found, expected, strict=True):
        assert relative(x, y) < tol(dtype)


@pytest.mark.parametrize("radius", [1, 2, 3, 4])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_pixel_has_the_same_bits_wherever_it_lies(dtype, radius, axes):
    pytest.importorskip("numba")
    shape = (23, 71) if axes == 2 else (2 * radius + 2, 2 * radius + 2, 37)
    weights, S, l, u, v = operands(3, shape, radius, dtype)

    def everything(w, S, l, u, v):
        y = similarity.cpu(w, l)[0], operator.cpu(w, S, v), operator.cpu(w, None, v), adjoint.cpu(w, S, u)
        return *y, *weight_gradient.cpu(w, S, l, u, u[None], v[None], l[None])

    whole = everything(weights, S, l, u, v)
    for cut in (1, 6):  # another place in vector lanes, or in what they leave over
        part = everything(*(np.ascontiguousarray(x[..., cut:]) for x in (weights, S, l, u, v)))
        for x, y in zip(whole, part, strict=True):
            np.testing.assert_array_equal(x[..., cut + radius :], y[..., radius:])


@pytest.mark.parametrize("width", [64, 71, 200, 256])
def test_results_written_past_the_caches_are_the_same(dtype, width, monkeypatch):
    pytest.importorskip("numba")
    from gpulaf.kernels import _blocks

    weights, S, l, u, v = operands(3, (180, width), 1, dtype)  # large enough to begin at a line of cache

    def everything():
        terms = (u[None], v[None], l[None])
        return [
            *similarity.cpu(weights, l), operator.cpu(weights, S, v), operator.cpu(weights, None, v, u, 0.5),
            adjoint.cpu(weights, S, u), adjoint.cpu(weights, S, u, v, 0.5),
            *weight_gradient.cpu(weights, S, l, u, *terms),
            *reverse_horner.cpu(weights, S, l, u, np.array([1.0, 0.5, 0.2])),
        ]  # fmt: skip

    kept = everything()
    assert kept[0].ctypes.data % 64 == 0
    assert not _blocks.exceeds_cache(weights, None, v)
    monkeypatch.setattr(_blocks, "LARGE", 0)
    assert _blocks.exceeds_cache(weights, None, v)
    for x, y in zip(kept, everything(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_without_numba_the_references_do_the_work():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np, gpulaf; from gpulaf.backend.dispatch import implementation\n"
        "weights = gpulaf.uniform_weights((5, 6))\n"
        "for name in ('operator', 'adjoint', 'similarity', 'weight_gradient', 'chain', 'reverse_horner'):\n"
        "    print(implementation(name, weights).__name__)\n"
        "gpulaf.flows.LinearFlow(gpulaf.Grid(weights), np.ones((2, 5, 6)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["reference"] * 6


def test_arrays_that_may_only_be_read_are_compiled_for_only_once(dtype):
    pytest.importorskip("numba")
    arguments = [np.ascontiguousarray(a) for a in operands(2, (5, 6), 1, dtype)[:3]]
    y = operator.cpu(*arguments)
    known = list(operator._rows.signatures)
    for a in arguments:
        a.flags.writeable = False
    np.testing.assert_array_equal(operator.cpu(*arguments), y)
    assert operator._rows.signatures == known
    assert not any(a.flags.writeable for a in arguments)


@pytest.mark.parametrize("shape", [(5, 70), (3, 4, 70)])
def test_strides_and_precisions_of_the_operands_change_nothing(dtype, shape):
    pytest.importorskip("numba")
    weights, S, l, u, v = operands(2, shape, 1, np.float32)

    def everything(w, S, l, u, v, out):
        return [
            operator.cpu(w, S, v, u, 0.5, out=out).copy(), adjoint.cpu(w, S, v, u, 0.5, out=out).copy(),
            similarity.cpu(w, l)[0], *weight_gradient.cpu(w, S, l, v, u[None], v[None], l[None]),
        ]  # fmt: skip

    plain = [a.astype(dtype) for a in (weights, S, l, u, v)]
    strange = [np.asfortranarray(a) for a in plain[:2]] + [np.repeat(a, 2, axis=-1)[..., ::2] for a in plain[2:]]
    strange[0] = np.asfortranarray(weights)  # and in single precision
    out = np.empty_like(plain[4])
    for x, y in zip(everything(*plain, out), everything(*strange, out), strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match="C-contiguous"):
        operator.cpu(*plain[:2], plain[4], out=np.empty((*v.shape, 2), dtype)[..., 0])


def test_similarity_survives_large_log_likelihoods(xp, dtype):
    weights, _, l, _, _ = operands(4, (5, 6), 1, dtype)
    S = host_array(implementation("similarity", xp(weights))(xp(weights), xp(3000 * l))[0])
    assert np.isfinite(S).all()
    np.testing.assert_allclose(S.sum(axis=0), 1, rtol=1e-5)


def test_results_repeat_bit_for_bit_whatever_the_threads(dtype, monkeypatch):
    numba = pytest.importorskip("numba")
    weights, S, l, u, v = operands(5, (67, 300), 1, dtype)
    rows = np.stack([u.ravel(), v.ravel(), l.ravel()])

    def everything():
        dw, c = weight_gradient.cpu(weights, S, l, u, u[None], v[None], l[None])
        return [
            *reverse_horner.cpu(weights, S, l, u, np.array([1.0, 0.5, 0.2, 0.1])),
            *similarity.cpu(weights, l), operator.cpu(weights, S, v), adjoint.cpu(weights, S, u), dw, c,
            inner_products.cpu(rows, rows), combination.cpu(np.ones((2, 3)), rows),
        ]  # fmt: skip

    from gpulaf.kernels import _numba

    monkeypatch.setattr(_numba, "SMALL", 1)
    before = numba.get_num_threads()
    several = everything()
    try:
        numba.set_num_threads(1)
        single = everything()
    finally:
        numba.set_num_threads(before)
    for x, y in zip(several, single, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("n", [1, 5, 1024, 5000])
def test_vectors(xp, dtype, n):
    rng = np.random.default_rng(0)
    rows, others, start = (rng.standard_normal((k, n)).astype(dtype) for k in (4, 3, 2))
    coefficients = rng.standard_normal((2, 4))
    wide = [np.asarray(x, np.float64) for x in (rows, others, start)]
    gram = implementation("inner_products", xp(rows))(xp(rows), xp(others))
    expected = wide[0] @ wide[1].T
    assert np.abs(host_array(gram) - expected).max() < tol(dtype) * n**0.5
    combined = implementation("combination", xp(rows))(coefficients, xp(rows), xp(start))
    assert relative(combined, coefficients @ wide[0] + wide[2]) < tol(dtype)
    assert relative(implementation("combination", xp(rows))(coefficients, xp(rows)), coefficients @ wide[0]) < tol(
        dtype
    )


def test_inner_products_of_a_long_field_keep_their_digits():
    n = 3_000_001
    rows = np.full((1, n), 0.1, np.float32)
    exact = n * float(np.float32(0.1)) ** 2
    found = implementation("inner_products", rows)(rows, rows)[0, 0]
    assert abs(found - exact) / exact < 2e-6


def test_norms_of_tiny_and_huge_numbers_do_not_leave_float32():
    from gpulaf.backend.fields import norm

    for size in (1e-23, 1e20):
        assert norm(np.full(100, size, np.float32)) == pytest.approx(10 * size, rel=1e-6)


def test_compiled_kernels_know_every_file_they_are_made_of(tmp_path):
    """A kernel's cache is stale when a helper in another file has changed."""
    pytest.importorskip("numba")
    import shutil
    from pathlib import Path

    import gpulaf.kernels

    copy = tmp_path / "gpulaf" / "kernels"
    shutil.copytree(Path(gpulaf.kernels.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "gpulaf" / "__init__.py").write_text("")
    code = (
        "import numpy as np; from gpulaf.kernels import operator;"
        "x = np.ones((2, 3, 3)); x[1] = 0\n"
        "print(operator.cpu(np.full((9, 3, 3), 0.125), x / 2, x)[0, 1, 1])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    before = run()
    assert before > 0
    helper = copy / "_blocks.py"
    text = helper.read_text(encoding="utf-8")
    helper.write_text(text.replace("put(target, x, number(row, x))", "put(target, x, 2 * number(row, x))"))
    assert run() == 2 * before


def cache_folder_with(environment):
    code = "from gpulaf.kernels._numba import cache_folder; print(cache_folder())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_compiled_kernels_find_a_place_where_the_home_folder_cannot_be_written(tmp_path):
    pytest.importorskip("numba")
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    closed = {"XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": str(tmp_path)}
    assert cache_folder_with(environment | {"XDG_CACHE_HOME": str(tmp_path)}).startswith(f"{tmp_path}/gpulaf/kernels-")
    private = cache_folder_with(environment | closed)
    assert private.startswith(f"{tmp_path}/gpulaf-{os.getuid()}/kernels-")
    assert os.stat(private).st_mode & 0o077 == 0
    os.chmod(os.path.dirname(private), 0o777)  # others could put kernels there
    assert cache_folder_with(environment | closed) == "None"
    given = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert cache_folder_with(environment | closed | given).startswith(f"{tmp_path}/kernels-")


def test_without_compilation_the_references_do_the_work():
    code = (
        "import numpy as np, gpulaf; from gpulaf.backend.dispatch import implementation\n"
        "print(implementation('operator', np.ones(1)).__name__,"
        " gpulaf.label(np.eye(4), [0.0, 1.0]).labels.sum())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["reference", "4"]


def test_radius_of_weights():
    assert [stencil.radius_of(np.ones((n, 4, 4))) for n in (1, 9, 25, 49)] == [0, 1, 2, 3]
    assert stencil.radius_of(np.ones((27, 2, 2, 2))) == 1
    for count in (4, 8, 10, 16):
        with pytest.raises(ValueError, match=rf"{count} neighbors.*9 for 3×3"):
            stencil.radius_of(np.ones((count, 4, 4)))


def test_offsets_are_row_major_with_the_centre_in_the_middle():
    offsets = stencil.offsets(1)
    assert offsets[0] == (-1, -1)
    assert offsets[1] == (-1, 0)
    assert offsets[4] == (0, 0)
    image = np.arange(12.0).reshape(3, 4)
    assert stencil.shifted(image, (0, 1))[1, 1] == image[1, 2]
    assert stencil.shifted(image, (-1, 0))[1, 1] == image[0, 1]
    assert stencil.shifted(image, (-1, 0))[0, 1] == 0
    assert stencil.shifted(image, (-1, 0), periodic=True)[0, 1] == image[2, 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 17), (70, 40), (3, 5, 6)])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_chain_is_one_product_after_the_other(xp, dtype, shape, radius, transposed, slots):
    weights, S, _, u, v = operands(3, shape, radius, dtype)
    scales, module = [0.3, -1.0, 2.0, 0.5, 1.5], adjoint if transposed else operator
    run = implementation("chain", xp(weights))
    for source, backward in ((u, False), (None, True)):
        slots_filled = min(slots, 5)
        out = np.full((slots_filled, *v.shape), np.nan, dtype)
        out = out if xp.name == "read-only" else xp(out)
        if slots == 1:  # a product never writes what it reads
            scales = scales[:1]
        given = None if source is None else xp(source)
        result = run(xp(weights), xp(S), xp(v), given, scales, out=out, transposed=transposed, backward=backward)
        assert result is out
        y, wide = np.asarray(v, np.float64), [np.asarray(a, np.float64) for a in (weights, S)]
        for k, scale in enumerate(scales):
            y = module.reference(*wide, y, None if source is None else np.asarray(source, np.float64), scale)
            if k >= len(scales) - slots_filled:
                at = slots_filled - 1 - k % slots_filled if backward else k % slots_filled
                assert relative(host_array(out)[at], y) < tol(dtype)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_chain_of_any_threads_gives_the_bits_of_single_products(dtype, transposed, threads, monkeypatch):
    pytest.importorskip("numba")
    from gpulaf.kernels import _numba, chain

    weights, S, _, u, v = operands(4, (97, 50), 1, dtype)
    monkeypatch.setattr(_numba, "SMALL", 1)
    monkeypatch.setattr(_numba.numba, "get_num_threads", lambda: threads)
    monkeypatch.setattr(chain, "BAND", 4 * 50 * 4 * np.dtype(dtype).itemsize)
    product, y = (adjoint if transposed else operator).cpu, v
    out = np.empty((7, *v.shape), dtype)
    for n in (7, 2):
        y = v
        chain.cpu(weights, S, v, u, np.full(7, 0.5), out=out[:n], transposed=transposed)
        for k in range(7):
            y = product(weights, S, y, u, 0.5)
            if k >= 7 - n:
                np.testing.assert_array_equal(out[k % n], y)


def test_helpers_have_names_of_their_own():
    """Cached kernels hold helpers by name: two of one name, cached by two processes, would be taken for each other."""
    pytest.importorskip("numba")
    found = {}
    for file in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"gpulaf.kernels.{file.name}")
        for function in vars(module).values():
            if hasattr(function, "py_func"):
                name = f"{function.py_func.__module__}.{function.py_func.__qualname__}"
                assert found.setdefault(name, function) is function, name
    assert len(found) > 50
