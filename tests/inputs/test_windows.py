"""Windows are the steps that they say, side by side along time, and their own."""

import dask
import numpy as np
import pytest

from dask_exa.inputs.windows import copied, join
from tests.inputs.streams import LentStream, make_steps, matrix, stream_of


@pytest.mark.parametrize("kind", [stream_of, LentStream])
@pytest.mark.parametrize(
    ("length", "every"), [(1, 1), (3, 1), (3, 2), (3, 3), (2, 5), (10, 1), (11, 1)]
)
def test_windows_slide(kind, length, every):
    steps = make_steps(10)
    X = matrix(steps)
    starts = list(range(0, 10 - length + 1, every))
    found = 0
    for start, window in zip(starts, kind(steps).windows(length, every), strict=True):
        assert window.density.dims == ("time", "y", "x")
        assert window.timestep.values.tolist() == list(range(10 + start, 10 + start + length))
        assert window.time.values.tolist() == [t / 2 for t in range(start, start + length)]
        rows = window.density.values.reshape(length, -1)
        np.testing.assert_array_equal(rows, X[start : start + length])
        found += 1
    assert found == len(starts)


def test_lazy_windows_compute_nothing():
    steps = [step.chunk({"y": 3, "x": 4}) for step in make_steps(4)]
    window = next(stream_of(steps).windows(3))
    assert dask.is_dask_collection(window)
    assert window.density.data.numblocks == (3, 2, 2)
    np.testing.assert_array_equal(window.density, join(steps[:3]).density)


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_copy_is_independent(chunks):
    step = make_steps(1)[0]
    buffer = step.density.values
    expected = buffer.copy()
    lent = step if chunks is None else step.chunk(chunks)
    own = copied(lent)
    buffer.fill(np.nan)
    np.testing.assert_array_equal(own.density, expected)
    assert own.density.chunks == lent.density.chunks


@pytest.mark.parametrize("options", [{"length": 0}, {"length": 2, "every": 0}])
def test_wrong_lengths_are_named(options):
    with pytest.raises(ValueError, match="must be an int of at least 1"):
        stream_of(make_steps(2)).windows(**options)


def test_steps_of_a_mesh_that_refines_have_no_windows():
    steps = make_steps(2)
    steps[1] = steps[1].isel(y=slice(4))
    windows = stream_of(steps).windows(2)
    with pytest.raises(ValueError, match=r"steps have 6 and 4 points along 'y' .* RepresentedS"):
        next(windows)
