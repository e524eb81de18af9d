"""Streams for the tests: made ones, and one that lends its steps."""

import numpy as np
import xarray as xr

from dask_exa.inputs import Stream

SHAPE = (6, 8)
STATE = ("components_", "mean_", "var_", "singular_values_")


def make_steps(n_steps, *, names=("density",), rank=5, seed=0, first=10):
    """Return steps of low rank, with timesteps that do not start from 0."""
    random = np.random.default_rng(seed)
    fields = {
        name: random.normal(size=(n_steps, rank)) @ random.normal(size=(rank, 48)) for name in names
    }
    return [
        xr.Dataset(
            {name: (("y", "x"), values[i].reshape(SHAPE)) for name, values in fields.items()},
            {"time": i / 2, "timestep": first + i, "x": np.arange(8.0)},
        )
        for i in range(n_steps)
    ]


def stream_of(steps, kind=Stream):
    """Return the stream of some steps."""
    return kind(
        lambda start: iter(steps[start:]),
        name="made",
        sizes=dict(zip(("y", "x"), SHAPE, strict=True)),
        variables=tuple(steps[0].data_vars),
        n_steps=len(steps),
    )


class LentStream(Stream):
    """Every step lies in the one buffer of its variable, as those of a running simulation do.

    Unlike a file, it goes on where the last reading has stopped.
    """

    is_live = True
    finished = False

    def __init__(self, steps):
        left = iter(steps)
        buffers = {name: np.empty(SHAPE) for name in steps[0].data_vars}

        def read(start):
            for step in left:
                for name, buffer in buffers.items():
                    buffer[...] = step[name]
                yield step.copy(data=buffers)
                for buffer in buffers.values():
                    buffer.fill(np.nan)

        names = tuple(steps[0].data_vars)
        super().__init__(read, name="lent", sizes={"y": 6, "x": 8}, variables=names)

    def finish(self):
        """Note that the ranks may go."""
        self.finished = True


def matrix(steps, name="density"):
    """Return one row per step."""
    return np.stack([step[name].values.ravel() for step in steps])


def assert_same_bits(one, other):
    """Two models have learnt the same, to the last bit."""
    for name in STATE:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert np.array_equal(a, b), name
    assert one.n_samples_seen_ == other.n_samples_seen_
