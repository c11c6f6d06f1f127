"""Rows of labels: the order of axes, contiguity, and that nothing is copied without need."""

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from gpulaf.backend.array import host_array
from gpulaf.fields import field_shape, from_rows, pixel_shape, to_rows

#: Labels and pixels of a graph, an image, a volume, a batch of volumes: all sides differ.
SHAPES = [(3, 7), (4, 3, 5), (2, 4, 3, 5), (6, 2, 4, 3, 5)]

EVERY_AXIS = [(shape, axis) for shape in SHAPES for axis in range(-len(shape), len(shape))]


def numbered(shape, dtype="float32"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(("shape", "axis"), EVERY_AXIS)
def test_both_ways_on_every_axis(xp, shape, axis):
    values = numbered(shape)
    field = to_rows(xp(values), axis)
    moved = host_array(field)
    labels, pixels = shape[axis], np.delete(shape, axis)
    assert moved.shape == field_shape(tuple(pixels), labels)
    for label in range(labels):
        np.testing.assert_array_equal(moved[..., label, :], values.take(label, axis))
    back = from_rows(field, axis)
    assert tuple(back.shape) == shape
    np.testing.assert_array_equal(host_array(back), values)
    np.testing.assert_array_equal(host_array(to_rows(back, axis)), moved)
    assert array_namespace(field) is array_namespace(back) is array_namespace(xp(values))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "float64"])
def test_every_dtype_stays(xp, dtype):
    values = numbered((4, 5, 3), dtype)
    field = to_rows(xp(values))
    assert host_array(field).dtype == host_array(from_rows(field)).dtype == values.dtype
    np.testing.assert_array_equal(host_array(from_rows(field)), values)


@pytest.mark.parametrize(("shape", "axis"), EVERY_AXIS)
def test_rows_are_contiguous_and_copied_only_where_memory_has_another_order(shape, axis):
    values = numbered(shape)
    field = to_rows(values, axis)
    assert field.flags.c_contiguous
    assert np.shares_memory(field, values) == (axis % len(shape) == len(shape) - 2)
    view = from_rows(field, axis)
    assert np.shares_memory(view, field)
    again = to_rows(view, axis)
    assert np.shares_memory(again, field)
    assert again.flags.c_contiguous


def test_a_view_of_rows_shows_what_is_written():
    field = np.zeros((4, 3, 5))
    from_rows(field)[1, 2, 0] = 7
    from_rows(field, 0)[2, 3, 4] = 8
    assert field[1, 0, 2] == 7
    assert field[3, 2, 4] == 8
    assert np.count_nonzero(field) == 2


def test_values_that_are_views_become_contiguous():
    values = numbered((4, 6, 10))[::2, ::-1, 1:9:2]
    for axis in range(3):
        before = values.copy()
        field = to_rows(values, axis)
        assert field.flags.c_contiguous
        assert not np.shares_memory(field, values)
        field[...] = -1
        np.testing.assert_array_equal(values, before)


def test_values_that_may_only_be_read_are_not_copied():
    values = numbered((4, 3, 5))
    values.flags.writeable = False
    field = to_rows(values, -2)
    assert np.shares_memory(field, values)
    assert not field.flags.writeable


def test_contiguous_on_a_gpu():
    cupy = pytest.importorskip("cupy")
    from gpulaf.backend.array import gpu_missing

    if missing := gpu_missing():
        pytest.skip(missing)
    for shape, axis in EVERY_AXIS:
        values = cupy.asarray(numbered(shape))
        field = to_rows(values, axis)
        assert field.flags.c_contiguous
        assert (field.data.ptr == values.data.ptr) == (axis % len(shape) == len(shape) - 2)
        assert to_rows(from_rows(field, axis), axis).data.ptr == field.data.ptr


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.data())
def test_any_shape(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values = numbered(shape)
    field = to_rows(values, axis)
    assert field.flags.c_contiguous
    assert field.shape == field_shape(pixel_shape(field), shape[axis])
    np.testing.assert_array_equal(field, np.moveaxis(values, axis, -2))
    np.testing.assert_array_equal(from_rows(field, axis), values)


@pytest.mark.parametrize(("pixels", "field"), [
    ((7,), (3, 7)), ((4, 5), (4, 3, 5)), ((2, 4, 5), (2, 4, 3, 5)), ((6, 2, 4, 5), (6, 2, 4, 3, 5)),
])  # fmt: skip
def test_shapes(xp, pixels, field):
    assert field_shape(pixels, 3) == field_shape(pixels, np.int64(3)) == field
    assert all(type(n) is int for n in field_shape(pixels, np.int64(3)))
    assert pixel_shape(xp(np.zeros(field))) == pixels
