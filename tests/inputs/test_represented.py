"""Steps as functions represent them: same steps after a restart, and the source beside them."""

import numpy as np
import pytest

from dask_exa.inputs.represented import RepresentedStream
from tests.inputs.streams import make_steps, stream_of


class Sum:
    """A representation that remembers: the sum of all fields so far."""

    def __init__(self):
        self.total = 0.0

    def __call__(self, step):
        self.total = self.total + step.density
        return step.assign(density=self.total, mean=step.density.mean("x"))


def mean_over_x(step):
    return step.mean("x")


@pytest.mark.parametrize("start", [0, 3])
def test_memory_is_that_of_the_steps_before(start):
    steps = make_steps(6)
    stream = RepresentedStream(stream_of(steps), Sum())
    for _ in range(2):  # every iteration anew
        for i, step in enumerate(stream.read(start), start):
            expected = sum(earlier.density for earlier in steps[: i + 1])
            np.testing.assert_allclose(step.density, expected, rtol=1e-14)
            assert stream.original is steps[i]
        assert i == 5


def test_a_function_does_not_read_what_is_skipped():
    source = stream_of(make_steps(6))
    starts, read = [], source.read
    source.read = lambda start=0: (starts.append(start), read(start))[1]
    stream = RepresentedStream(source, mean_over_x)
    assert [int(step.timestep) for step in stream.read(4)] == [14, 15]
    assert starts == [0, 4]
    assert (stream.dims, stream.sizes, len(stream)) == (("y",), {"y": 6}, 6)


def test_a_source_without_steps_is_an_error():
    empty = stream_of(make_steps(1))
    empty.read = lambda start=0: iter(())
    with pytest.raises(ValueError, match="'made' has no steps"):
        RepresentedStream(empty, Sum())
