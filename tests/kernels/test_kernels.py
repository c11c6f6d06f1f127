"""Every kernel implementation against its `reference`, and the references against dense matrices."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys

import numpy as np
import pytest
from gpulaf.kernels import (
    _memory,
    adjoint,
    chain,
    combination,
    inner_products,
    operator,
    reverse_horner,
    rows,
    similarity,
    stencil,
    wave,
    weight_gradient,
)
from oracles import dense_average, flat, relative, tol, unflat

from gpulaf import kernels
from gpulaf.averaging.patches import normalize_weights
from gpulaf.backend.array import host_array, namespace
from gpulaf.backend.dispatch import implementation
from gpulaf.fields import field_shape

# 1×n, n×1, smaller than the patch, beyond one block of columns, odd everything
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 6), (33, 17), (2, 2150)]
VOLUMES = [(1, 1, 1), (1, 4, 5), (3, 1, 7), (2, 5, 1), (4, 7, 9), (2, 3, 2150)]


def operands(labels, shape, radius, dtype, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    weights = normalize_weights(rng.random((*batch, *field_shape(shape, (2 * radius + 1) ** len(shape)))))
    l, u, v = (rng.standard_normal((*batch, *field_shape(shape, labels))) for _ in range(3))
    S = np.exp(u) / np.exp(u).sum(axis=-2, keepdims=True)
    return tuple(x.astype(dtype) for x in (weights, S, l, u, v))


def beyond_gpu(xp, shape, radius):
    """Whether CUDA has no kernel for these patches: in volumes they are 3×3×3."""
    return xp.name == "cupy" and len(shape) > 2 and radius > 1


@pytest.mark.parametrize("shape", [*SHAPES, *VOLUMES])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("labels", [2, 5])
def test_fast_equals_reference(xp, dtype, shape, radius, labels):
    weights, S, l, u, v = operands(labels, shape, radius, dtype)
    if beyond_gpu(xp, shape, radius):
        with pytest.raises(ValueError, match="reach 2 planes; accepted on a GPU are up to 1"):
            implementation("operator", xp(weights))(xp(weights), xp(S), xp(v))
        return
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
        return unflat((flat(x).reshape(-1, n) @ matrix.T).ravel(), x)

    def replicate(x):
        dot = sum(S[..., k, :] * x[..., k, :] for k in range(3))
        return np.stack([S[..., j, :] * (x[..., j, :] - dot) for j in range(3)], axis=-2)

    assert relative(operator.reference(weights, None, v), average(v, omega)) < 1e-14
    assert relative(operator.reference(weights, S, v), replicate(average(v, omega))) < 1e-14
    assert relative(adjoint.reference(weights, S, u), average(replicate(u), omega.T)) < 1e-14
    exponential = np.exp(average(l, omega))
    S, bound = similarity.reference(weights, l)
    assert relative(S, exponential / exponential.sum(axis=-2, keepdims=True)) < 1e-14
    assert bound == (2 * S * (1 - S)).max()


@pytest.mark.parametrize("degree", [1, 2, 5])
@pytest.mark.parametrize("which", ["reference", "cpu"])
def test_reverse_horner_by_products_is_its_formula_bit_for_bit(dtype, which, degree):
    weights, S, l, g = operands(3, (5, 4, 6), 1, dtype)[:4]  # no wave runs through a volume
    c = np.cumprod(1.5 / np.arange(1, degree + 1))
    A, At, gradient = (getattr(page, which) for page in (operator, adjoint, weight_gradient))
    a, y = [S - 1.0 / 3], [float(c[-1]) * g]
    for factor in c[-2::-1]:
        a.append(A(weights, S, a[-1]))
        y.append(At(weights, S, y[-1], g, float(factor)))
    stacks = (np.array(x, dtype).reshape(-1, *g.shape) for x in (y[-2::-1], a[:-1], a[1:]))
    found = getattr(reverse_horner, which)(weights, S, l, g, c)
    for x, expected in zip(found, gradient(weights, S, l, y[-1], *stacks), strict=True):
        assert (x == expected).all()


def test_numbers_are_applied_in_place_as_by_operators(xp, dtype):
    x = xp(np.random.default_rng(0).standard_normal((4, 3, 5)).astype(dtype))
    for function, expected in ((stencil.scaled, 0.3 * x), (stencil.lowered, x - 0.3)):
        out = namespace(x).zeros_like(x)
        function(x, 0.3, out)
        assert out.dtype == x.dtype
        assert (host_array(out) == host_array(expected)).all()


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


@pytest.mark.parametrize(("axes", "radius"), [(2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2), (3, 3), (3, 5)])
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


@pytest.mark.parametrize("shape", [(180, 97), (180, 131), (60, 200), (20, 256), (3, 4, 131)])
@pytest.mark.parametrize("radius", [1, 2])
def test_results_in_strips_of_columns_are_the_same(dtype, shape, radius, monkeypatch):
    pytest.importorskip("numba")
    weights, S, l, u, v = operands(3, shape, radius, dtype)  # large enough to begin at a line of cache

    def everything():
        terms, out = (u[None], v[None], l[None]), np.empty((2, *v.shape), dtype)
        return [
            *similarity.cpu(weights, l), operator.cpu(weights, S, v), operator.cpu(weights, None, v, u, 0.5),
            adjoint.cpu(weights, S, u), adjoint.cpu(weights, S, u, v, 0.5),
            *weight_gradient.cpu(weights, S, l, u, *terms),
            *reverse_horner.cpu(weights, S, l, u, np.array([1.0, 0.5, 0.2])),
            chain.cpu(weights, S, v, u, [0.5, 1.0, 2.0], out=out).copy(),
            chain.cpu(weights, S, v, u, [0.5, 1.0, 2.0], out=out, transposed=True),
        ]  # fmt: skip

    whole = everything()
    assert v.nbytes < _memory.LEAST or whole[0].ctypes.data % 64 == 0
    assert rows.strip(shape[-1], 1, 3 * radius, whole[0].itemsize) == shape[-1]
    monkeypatch.setattr(rows, "STRIP", 0)
    assert rows.strip(shape[-1], 1, 3 * radius, whole[0].itemsize) < shape[-1]
    for x, y in zip(whole, everything(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_without_numba_the_references_do_the_work():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np, gpulaf; from gpulaf.backend.dispatch import implementation\n"
        "weights = gpulaf.uniform_weights((5, 6))\n"
        "for name in ('operator', 'adjoint', 'similarity', 'weight_gradient', 'chain', 'reverse_horner'):\n"
        "    print(implementation(name, weights).__name__)\n"
        "gpulaf.flows.LinearFlow(gpulaf.Grid(weights), np.ones((5, 2, 6), np.float32))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["reference"] * 6


def test_arrays_that_may_only_be_read_are_compiled_for_only_once(dtype):
    pytest.importorskip("numba")
    arguments = [np.ascontiguousarray(a) for a in operands(2, (5, 6), 1, dtype)[:3]]
    y = operator.cpu(*arguments)
    known = list(wave._wave.signatures)
    for a in arguments:
        a.flags.writeable = False
    np.testing.assert_array_equal(operator.cpu(*arguments), y)
    assert wave._wave.signatures == known
    assert not any(a.flags.writeable for a in arguments)


@pytest.mark.parametrize("shape", [(5, 70), (3, 4, 70)])
def test_strides_of_the_operands_change_nothing(dtype, shape):
    pytest.importorskip("numba")
    weights, S, l, u, v = operands(2, shape, 1, np.float32)

    def everything(w, S, l, u, v, out):
        return [
            operator.cpu(w, S, v, u, 0.5, out=out).copy(), adjoint.cpu(w, S, v, u, 0.5, out=out).copy(),
            similarity.cpu(w, l)[0], *weight_gradient.cpu(w, S, l, v, u[None], v[None], l[None]),
        ]  # fmt: skip

    plain = [a.astype(dtype) for a in (weights, S, l, u, v)]
    strange = [np.asfortranarray(a) for a in plain[:2]] + [np.repeat(a, 2, axis=-1)[..., ::2] for a in plain[2:]]
    out = np.empty_like(plain[4])
    for into in (out, np.empty((*v.shape, 2), dtype)[..., 0]):
        for x, y in zip(everything(*plain, out), everything(*strange, into), strict=True):
            np.testing.assert_array_equal(x, y)


def test_similarity_survives_large_log_likelihoods(xp, dtype):
    weights, _, l, _, _ = operands(4, (5, 6), 1, dtype)
    S = host_array(implementation("similarity", xp(weights))(xp(weights), xp(3000 * l))[0])
    assert np.isfinite(S).all()
    np.testing.assert_allclose(S.sum(axis=-2), 1, rtol=1e-5)


def test_results_repeat_bit_for_bit_whatever_the_threads(dtype, monkeypatch):
    numba = pytest.importorskip("numba")
    weights, S, l, u, v = operands(5, (67, 300), 1, dtype)
    vectors = np.stack([u.ravel(), v.ravel(), l.ravel()])

    def everything():
        dw, c = weight_gradient.cpu(weights, S, l, u, u[None], v[None], l[None])
        return [
            *reverse_horner.cpu(weights, S, l, u, np.array([1.0, 0.5, 0.2, 0.1])),
            *similarity.cpu(weights, l), operator.cpu(weights, S, v), adjoint.cpu(weights, S, u), dw, c,
            inner_products.cpu(vectors, vectors), combination.cpu(np.ones((2, 3)), vectors),
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
    vectors, others, start = (rng.standard_normal((k, n)).astype(dtype) for k in (4, 3, 2))
    coefficients = rng.standard_normal((2, 4))
    wide = [np.asarray(x, np.float64) for x in (vectors, others, start)]
    gram = implementation("inner_products", xp(vectors))(xp(vectors), xp(others))
    expected = wide[0] @ wide[1].T
    assert np.abs(host_array(gram) - expected).max() < tol(dtype) * n**0.5
    combined = implementation("combination", xp(vectors))(coefficients, xp(vectors), xp(start))
    assert relative(combined, coefficients @ wide[0] + wide[2]) < tol(dtype)
    unstarted = implementation("combination", xp(vectors))(coefficients, xp(vectors))
    assert relative(unstarted, coefficients @ wide[0]) < tol(dtype)


def test_inner_products_of_a_long_field_keep_their_digits():
    n = 3_000_001
    row = np.full((1, n), 0.1, np.float32)
    exact = n * float(np.float32(0.1)) ** 2
    found = implementation("inner_products", row)(row, row)[0, 0]
    assert abs(found - exact) / exact < 2e-6


def test_norms_of_tiny_and_huge_numbers_do_not_leave_float32():
    from gpulaf.backend.products import norm

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
        "x = np.ones((3, 2, 3)); x[:, 1] = 0\n"
        "print(operator.cpu(np.full((3, 9, 3), 0.125), x / 2, x)[1, 0, 1])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    before = run()
    assert before > 0
    helper = copy / "rows.py"
    before_emit, emit = helper.read_text(encoding="utf-8").split("def emit(")
    helper.write_text(f"{before_emit}def emit({emit.replace('[x] = ', '[x] = 2 * ', 1)}", encoding="utf-8")
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
        "names = 'operator adjoint chain similarity weight_gradient reverse_horner agreement cosine moments geodesic'\n"
        "for name in names.split(): print(implementation(name, np.ones(1)).__name__)\n"
        "print(gpulaf.label(np.repeat([[0.0, 1.0]], 4, axis=0).repeat(3, axis=1), [0.0, 1.0]).labels.sum())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*["reference"] * 10, "12"]


def test_radius_of_weights():
    assert [stencil.radius_of(np.ones((4, n, 4))) for n in (9, 25, 49)] == [1, 2, 3]
    assert stencil.radius_of(np.ones((2, 2, 27, 2))) == 1
    assert [stencil.axes_of(np.ones((2, 2, n, 2))) for n in (9, 25, 27, 125)] == [2, 2, 3, 3]
    for count in (1, 4, 8, 10, 16, 729):
        with pytest.raises(ValueError, match=rf"{count} neighbors.*9, 25, 49"):
            stencil.radius_of(np.ones((4, count, 4)))


def test_offsets_are_row_major_with_the_centre_in_the_middle():
    offsets = stencil.offsets(1)
    assert offsets[0] == (-1, -1)
    assert offsets[1] == (-1, 0)
    assert offsets[4] == (0, 0)
    image = np.arange(12.0).reshape(3, 4)
    assert stencil.shifted(image, (0, 1), labels=False)[1, 1] == image[1, 2]
    assert stencil.shifted(image, (-1, 0), labels=False)[1, 1] == image[0, 1]
    assert stencil.shifted(image, (-1, 0), labels=False)[0, 1] == 0
    assert stencil.shifted(image, (-1, 0), periodic=True, labels=False)[0, 1] == image[2, 1]
    field = np.stack([image, 2 * image], axis=-2)
    np.testing.assert_array_equal(
        stencil.shifted(field, (-1, 1))[:, 1], 2 * stencil.shifted(image, (-1, 1), labels=False)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 17), (70, 40), (3, 5, 6)])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_chain_is_one_product_after_the_other(xp, dtype, shape, radius, transposed, slots):
    radius = 1 if beyond_gpu(xp, shape, radius) else radius
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
    from gpulaf.kernels import _numba

    weights, S, _, u, v = operands(4, (97, 50), 1, dtype)
    monkeypatch.setattr(_numba, "SMALL", 1)
    monkeypatch.setattr(_numba.numba, "get_num_threads", lambda: threads)
    product, y = (adjoint if transposed else operator).cpu, v
    out = np.empty((7, *v.shape), dtype)
    for n in (7, 2):
        y = v
        chain.cpu(weights, S, v, u, np.full(7, 0.5), out=out[:n], transposed=transposed)
        for k in range(7):
            y = product(weights, S, y, u, 0.5)
            if k >= 7 - n:
                np.testing.assert_array_equal(out[k % n], y)


BATCHES = [(1, (1, 9)), (1, (7, 2)), (1, (33, 17)), (2, (7, 2)), (2, (33, 17)), (1, (2, 1, 7)), (1, (3, 4, 9))]


def stencils_of(run, weights, S, l, u, v, out):
    """Fields and patches that all stencils make of an image, or of the images of a batch; `out` is a stack of three."""
    stacks = [np.stack(x) for x in ((u, v), (v, l), (l, u))]
    scales, c = [0.5, 1.0, -2.0], np.array([1.0, 0.5, 0.2])
    chains = [
        np.array(host_array(run("chain", weights, S, v, source, scales, out=out, transposed=transposed)))
        for source, transposed in ((None, False), (u, False), (None, True), (u, True))
    ]
    found = [
        run("similarity", weights, l)[0],
        *(run(name, weights, *more) for name in ("operator", "adjoint") for more in ((S, v), (None, v, u, 0.5))),
        *run("weight_gradient", weights, S, l, u, *stacks), *run("reverse_horner", weights, S, l, u, c),
    ]  # fmt: skip
    return [*map(host_array, found), *(field for stack in chains for field in stack)]


@pytest.mark.parametrize(("radius", "shape"), BATCHES)
@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_is_its_images_one_by_one(xp, dtype, shape, radius, shared):
    weights, *fields = operands(3, shape, radius, dtype, batch=(3,))
    weights = weights[1] if shared else weights

    def run(name, *arguments, out=None, **options):
        options |= {} if out is None else {"out": out if xp.name == "read-only" else xp(out)}
        arguments = (xp(a) if isinstance(a, np.ndarray) and a.ndim > 1 else a for a in arguments)
        return implementation(name, xp(weights))(*arguments, **options)

    batch = stencils_of(run, weights, *fields, np.empty((3, *fields[0].shape), dtype))
    for i in range(3):
        own = weights if shared else weights[i]
        image = stencils_of(run, own, *(x[i] for x in fields), np.empty((3, *fields[0].shape[1:]), dtype))
        for x, y in zip(batch, image, strict=True):
            np.testing.assert_array_equal(x[i], y)
    each = [run("similarity", weights if shared else weights[i], fields[1][i])[1] for i in range(3)]
    bound = run("similarity", weights, fields[1])[1]
    assert np.max(host_array(bound)) == max(np.max(host_array(b)) for b in each)


@pytest.mark.parametrize("shape", [(13, 40), (3, 5, 40)])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_of_any_threads_is_its_images_one_by_one(dtype, shape, threads, shared, monkeypatch):
    pytest.importorskip("numba")
    from gpulaf.kernels import _numba

    weights, *fields = operands(3, shape, 1, dtype, batch=(4,))
    weights = weights[:1] if shared else weights

    def run(name, *arguments, **options):
        return importlib.import_module(f"gpulaf.kernels.{name}").cpu(*arguments, **options)

    images = [
        stencils_of(run, weights[i % len(weights)], *(x[i] for x in fields), np.empty((3, *fields[0].shape[1:]), dtype))
        for i in range(4)
    ]
    monkeypatch.setattr(_numba, "SMALL", 1)
    monkeypatch.setattr(_numba.numba, "get_num_threads", lambda: threads)
    batch = stencils_of(run, weights, *fields, np.empty((3, *fields[0].shape), dtype))
    for x, *each in zip(batch, *images, strict=True):
        np.testing.assert_array_equal(x, np.stack(each))


def test_axes_of_a_batch_are_kept():
    pytest.importorskip("numba")
    weights, S, l, u, v = operands(3, (5, 6), 1, np.float32, batch=(2, 3))
    stacks = [np.stack(x) for x in ((u, v), (v, l), (l, u))]
    found = [
        operator.cpu(weights, S, v), adjoint.cpu(weights, S, v), similarity.cpu(weights, l)[0],
        *weight_gradient.cpu(weights, S, l, u, *stacks), *reverse_horner.cpu(weights, S, l, u, [1.0, 0.5]),
    ]  # fmt: skip
    assert [x.shape for x in found] == [v.shape, v.shape, v.shape, weights.shape, v.shape, weights.shape, v.shape]
    one = weight_gradient.cpu(weights[1, 2], S[1, 2], l[1, 2], u[1, 2], *(x[:, 1, 2] for x in stacks))
    for x, y in zip(found[3:5], one, strict=True):
        np.testing.assert_array_equal(x[1, 2], y)


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("degree", [1, 3])
def test_reverse_horner_of_a_volume_equals_its_definition(dtype, radius, degree):
    pytest.importorskip("numba")
    arguments, c = operands(3, (3, 5, 8), radius, dtype)[:4], 0.7 ** np.arange(degree)
    expected = reverse_horner.reference(*(np.asarray(a, np.float64) for a in arguments), c)
    for x, y in zip(reverse_horner.cpu(*arguments, c), expected, strict=True):
        assert relative(x, y) < tol(dtype)


@pytest.mark.parametrize("which", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_arrays_that_do_not_fit_together_are_refused(which, shape):
    if which == "cpu":
        pytest.importorskip("numba")
    weights, S, l, u, v = operands(3, shape, 1, np.float32, batch=(6,))
    stack = np.stack([u, v])

    def refused(said, module, *arguments, **options):
        with pytest.raises(ValueError, match=said):
            getattr(module, which)(*arguments, **options)

    def shapes(x, y):
        return rf"{re.escape(str(x.shape))}.*{re.escape(str(y.shape))}"

    for w in (weights[:2], weights[:4], np.concatenate([weights, weights])):
        said = shapes(w, v) + " has 6. Pass weights for each of them, or without a batch"
        refused(said, operator, w, S, v)
        refused(said, adjoint, w, S, v)
        refused(said, similarity, w, l)
        refused(said, weight_gradient, w, S, l, u, stack, stack, stack)
        refused(said, reverse_horner, w, S, l, u, [1.0, 0.5])
        refused(said, chain, w, S, v, u, [1.0, 0.5], out=np.empty((2, *v.shape), np.float32))
    refused(shapes(weights, v[0]) + " has 1", operator, weights, S[0], v[0])
    refused(shapes(weights[..., 1:], v) + " has", operator, weights[..., 1:], S, v)
    refused(shapes(weights[..., 1:, :, :], v) + " has", adjoint, weights[..., 1:, :, :], S, v)
    w = weights[0]
    for wrong in (v[0], v[:3], v[..., 1:], v[..., 1:, :], v[:, 1:]):
        refused(shapes(wrong, v), operator, w, wrong, v)
        refused(shapes(wrong, v), adjoint, w, None, v, wrong)
        refused(shapes(wrong, v), chain, w, S, v, wrong, [1.0, 0.5], out=np.empty((2, *v.shape), np.float32))
        refused(shapes(wrong, u), weight_gradient, w, wrong, l, u, stack, stack, stack)
        refused(shapes(wrong, u), weight_gradient, w, S, wrong, u, stack, stack, stack)
        refused(shapes(wrong, u), reverse_horner, w, wrong, l, u, [1.0, 0.5])
        refused(shapes(wrong, u), reverse_horner, w, S, wrong, u, [1.0, 0.5])
    for wrong in (stack[:1], stack[:, 1:], stack[..., 1:]):
        refused(shapes(wrong, u), weight_gradient, w, S, l, u, stack, wrong, stack)
        refused(shapes(wrong, u), weight_gradient, w, S, l, u, stack, stack, wrong)
        refused("shape", operator, w, S, v, out=np.empty_like(v[:3]))


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
    assert len(found) > 25
