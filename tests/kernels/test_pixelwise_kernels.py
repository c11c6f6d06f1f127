"""The kernels of a learning step that work on each pixel alone, against plain loops, and the memory they reuse."""

import gc
import threading

import numpy as np
import pytest
from gpulaf.kernels import _memory, agreement, cosine, geodesic, moments
from oracles import relative, tol

from gpulaf.backend.array import host_array
from gpulaf.backend.dispatch import implementation

#: Images, rows and pixels of a row; 1024 are worked on together.
SIZES = [(1, 1, 1), (1, 1, 7), (1, 1, 1024), (1, 1, 2500), (1, 9, 40), (3, 2, 1100)]


def labels_and_truth(labels, size, dtype, unlabeled=True):
    images, rows, width = size
    rng = np.random.default_rng(images * rows * width + labels)
    v = rng.standard_normal((images, rows, labels, width)).astype(dtype)
    truth = rng.integers(-1 if unlabeled else 0, labels, size).astype(np.int32)
    truth[:, 0, 0] = 0
    return v, truth


def patches(size, dtype):
    rows, width = size[0] * size[1], size[2]
    rng = np.random.default_rng(rows * width)
    p = rng.random((rows, 9, width))
    p[:, 2, : width // 2] = 0  # a neighbor outside the image
    return (p / p.sum(axis=1, keepdims=True)).astype(dtype), rng.standard_normal((rows, 9, width)).astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("labels", [2, 9])
def test_agreement(xp, dtype, labels, size):
    v, truth = labels_and_truth(labels, size, dtype)
    class_weights = (1 + np.arange(labels) / 3).astype(dtype)
    sums = np.zeros((size[0], 6))
    for b, y, x in np.ndindex(*size):
        if (true := truth[b, y, x]) >= 0:
            column, c = v[b, y, :, x].astype(float), float(class_weights[true])
            sums[b, :4] += [c * column[true], c * column.sum(), c * (column**2).sum(), c]
            sums[b, 4:] += [np.argmax(column) != true, 1]
    found = host_array(implementation("agreement", xp(v))(xp(v), xp(truth), xp(class_weights)))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, :4], sums[:, :4], atol=tol(dtype) * (size[1] * size[2]) ** 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 4:], sums[:, 4:])


def test_the_first_of_equal_labels_wins(xp, dtype):
    v, truth = np.zeros((1, 1, 3, 4), dtype), np.array([[[0, 1, 2, -1]]], np.int32)
    ones = np.ones(3, dtype)
    assert host_array(implementation("agreement", xp(v))(xp(v), xp(truth), xp(ones)))[0, 4] == 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("labels", [2, 9])
def test_cosine_derivative(xp, dtype, labels, size):
    v, truth = labels_and_truth(labels, size, dtype)
    class_weights = (1 + np.arange(labels) / 3).astype(dtype)
    sums = agreement.reference(v, truth, class_weights)
    found = host_array(implementation("cosine", xp(v))(xp(v), xp(truth), xp(class_weights), xp(sums)))
    for b in range(size[0]):  # one loss for each image
        counts = np.array([[[class_weights[t] if t >= 0 else 0 for t in row]] for row in truth[b]], float)
        seen, target = v[b].astype(float), np.zeros(v[b].shape)
        for y, x in np.ndindex(*size[1:]):
            if truth[b, y, x] >= 0:
                target[y, :, x] = -1 / labels
                target[y, truth[b, y, x], x] += 1
        s, t = (counts * target**2).sum() ** 0.5, (counts * seen**2).sum() ** 0.5
        expected = counts * ((counts * target * seen).sum() * seen / (s * t**3) - target / (s * t))
        assert np.abs(found[b] - expected).max() < 4 * tol(dtype) / (s * t)


def test_cosine_derivative_of_nothing_is_nothing(xp, dtype):
    v, truth = np.zeros((1, 1, 3, 5), dtype), np.arange(-1, 4, dtype=np.int32).reshape(1, 1, 5) % 3
    ones = np.ones(3, dtype)
    found = implementation("cosine", xp(v))(xp(v), xp(truth), xp(ones), xp(agreement.reference(v, truth, ones)))
    np.testing.assert_array_equal(host_array(found), 0)


@pytest.mark.parametrize("size", SIZES)
def test_moments(xp, dtype, size):
    weights, gradient = patches(size, dtype)
    first = np.random.default_rng(1).random(weights.shape).astype(dtype)
    second = np.full(weights[:, 0].shape, 0.3, dtype)
    tangent = 50 * (gradient - np.einsum("yox,yox->yx", weights, gradient)[:, None])
    norms = np.einsum("yox,yox->yx", weights, tangent**2)
    run = implementation("moments", xp(weights))
    one, two = run(xp(weights), xp(gradient), xp(first), xp(second), (0.9, 0.99, 50.0))
    assert relative(one, 0.9 * first + 0.1 * tangent) < tol(dtype)
    assert relative(two, 0.99 * second + 0.01 * norms) < tol(dtype)
    none, squared = run(xp(weights), xp(gradient))
    assert none is None
    assert relative(squared, norms / 2500) < tol(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0.3, -40.0])
def test_geodesic(xp, dtype, size, factor):
    p, x = patches(size, dtype)
    scale = np.random.default_rng(2).random(p[:, 0].shape).astype(dtype)
    for s in (None, scale):
        expected = np.empty(p.shape)
        for y, i in np.ndindex(*scale.shape):
            column, rate = p[y, :, i].astype(float), factor * (1 if s is None else float(s[y, i]))
            step = rate * x[y, :, i].astype(float)
            step = np.clip(step - column @ step, -5, 5)
            moved = column * np.exp(step)
            kept = np.where(column > 0, np.maximum(moved / moved.sum(), 1e-10), 0)
            expected[y, :, i] = kept / kept.sum()
        found = host_array(implementation("geodesic", xp(p))(xp(p), xp(x), factor, None if s is None else xp(s)))
        assert found.dtype == dtype
        assert relative(found, expected) < 10 * tol(dtype)
        np.testing.assert_array_equal(found == 0, p == 0)


def test_geodesic_of_any_length_stays_inside(xp, dtype):
    p, x = patches((1, 4, 25), dtype)
    found = host_array(implementation("geodesic", xp(p))(xp(p), xp(x), 1e30))
    assert (found[p > 0] > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("size", [(3, 1, 7), (3, 5, 40), (4, 2, 1100)])
def test_a_batch_is_its_images_one_by_one(xp, dtype, size):
    v, truth = labels_and_truth(5, size, dtype)
    class_weights = xp(np.arange(1, 6).astype(dtype))

    def everything(v, truth):
        sums = implementation("agreement", xp(v))(xp(v), xp(truth), class_weights)
        return host_array(sums), host_array(implementation("cosine", xp(v))(xp(v), xp(truth), class_weights, sums))

    for i in range(size[0]):
        one = everything(v[i : i + 1], truth[i : i + 1])
        for x, y in zip(everything(v, truth), one, strict=True):
            np.testing.assert_array_equal(x[i : i + 1], y)


@pytest.mark.parametrize("size", [(1, 1, 9000), (3, 20, 150)])
def test_results_repeat_bit_for_bit_whatever_the_threads(dtype, size, monkeypatch):
    numba = pytest.importorskip("numba")
    v, truth = labels_and_truth(5, size, dtype)
    p, x = patches(size, dtype)

    def everything():
        class_weights = np.arange(1, 6).astype(dtype)
        sums = agreement.cpu(v, truth, class_weights)
        first, second = moments.cpu(p, x, x, x[:, 0], (0.9, 0.99, 2.0))
        return sums, cosine.cpu(v, truth, class_weights, sums), first, second, geodesic.cpu(p, x, 0.7, x[:, 1] ** 2)

    from gpulaf.kernels import _numba

    monkeypatch.setattr(_numba, "SMALL", 1)
    before = numba.get_num_threads()
    several = everything()
    try:
        numba.set_num_threads(1)
        single = everything()
    finally:
        numba.set_num_threads(before)
    for one, other in zip(several, single, strict=True):
        np.testing.assert_array_equal(one, other)
    for threads in (3, 5):
        monkeypatch.setattr(_numba.numba, "get_num_threads", lambda threads=threads: threads)
        for one, other in zip(everything(), single, strict=True):
            np.testing.assert_array_equal(one, other)


def test_exponential_is_right_to_one_rounding(dtype):
    numba = pytest.importorskip("numba")
    from gpulaf.kernels.exponential import constants, exponential, new_powers

    @numba.njit
    def run(x, constants):
        powers = new_powers(constants, 2048)
        for a in range(0, x.size, 2048):
            row = x[a : a + 2048]
            exponential(row, constants, powers, row.size)

    info = np.finfo(dtype)
    low, high = info.minexp * np.log(2), (info.maxexp - 1) * np.log(2)
    rng = np.random.default_rng(0)
    parts = rng.uniform(0.999 * low, 0.999 * high, 50_001), rng.uniform(-1, 1, 50_001), [0.0]
    x = np.concatenate(parts).astype(dtype)
    y = x.copy()
    run(y, constants(dtype))
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs(y / exact - 1).max() < 0.75 * info.eps
    assert y[-1] == 1
    extreme = np.array([-1e30, -np.inf, 1e30, np.inf], dtype)
    run(extreme, constants(dtype))
    assert (extreme[:2] <= 1.5 * info.smallest_normal).all()
    assert (extreme[2:] >= 0.4 * info.max).all()
    assert np.isfinite(extreme).all()


def test_memory_is_reused_and_never_taken_away():
    shape = (64, 1024)
    with _memory.reused():
        kept = _memory.empty(shape, np.float64)
        kept[...] = 1
        view = kept[3:, ::2]
        address = kept.ctypes.data
        del kept
        others = [_memory.empty(shape, np.float64) for _ in range(3)]
        for other in others:
            assert other.ctypes.data != address  # the view still holds it
            other[...] = 2
        assert (view == 1).all()
        del view
        gc.collect()
        again = _memory.empty(shape, np.float64)
        assert again.ctypes.data == address
        assert again.shape == shape
        assert again.flags.writeable
        assert again.flags.c_contiguous
        again[...] = 3
    del others
    assert not _memory._free
    assert (again == 3).all()


def test_memory_is_reused_by_threads():
    def work(value, wrong):
        for _ in range(200):
            array = _memory.empty((70, 256), np.float64)
            array[...] = value
            if not (array == value).all():
                wrong.append(value)

    wrong = []
    with _memory.reused():
        threads = [threading.Thread(target=work, args=(k, wrong)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert not _memory._free
