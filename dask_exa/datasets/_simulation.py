"""What all built-in simulations share: they go on by one frame at a time."""

import abc

ON_NAN = ("raise", "yield")
"""What to do with a frame that is not finite."""


class Simulation(abc.ABC):
    """Base of the built-in simulations."""

    @property
    @abc.abstractmethod
    def fields(self):
        """xarray.Dataset: the state as a frame."""

    @abc.abstractmethod
    def advance(self):
        """Go on by one output interval, and return the frame as an xarray.Dataset."""

    def run(self, n_timesteps):
        """Yield the next frames, the first one after one output interval.

        Parameters
        ----------
        n_timesteps : int
            Number of frames.

        Yields
        ------
        xarray.Dataset
            See `advance`.
        """
        for _ in range(n_timesteps):
            yield self.advance()
