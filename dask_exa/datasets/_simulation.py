"""What all built-in simulations share: they go on by one frame at a time."""

ON_NAN = ("raise", "yield")
"""What to do with a frame that is not finite."""


class Simulation:
    """Base of simulations, which have `advance`, the next frame, and `fields`, the state as one."""

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
