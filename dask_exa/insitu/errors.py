"""What can go wrong between a simulation and its analytics."""


class StreamError(RuntimeError):
    """A stream cannot go on: what happened, at which step, on which rank."""


class RankLostError(StreamError):
    """A rank died, or left with an error, while others went on."""


class StepLostError(StreamError):
    """A step is not complete and will never be."""


class SchedulerLostError(StreamError):
    """The connection to the Dask scheduler is gone."""


class StreamTimeoutError(StreamError, TimeoutError):
    """Something did not come within the time that was set for it."""


class LayoutError(ValueError):
    """The chunks that ranks declare do not make up an array.

    Parameters
    ----------
    message : str
    ranks : sequence of int
        Those whose declaration is at fault.
    """

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks
