"""Where the fields and spectra of a box are: in one process, or in slabs on MPI ranks.

Fields are cut along y and spectra along kx, so that every rank has whole lines for the transform
that it does next. In between lies one exchange of all ranks with all.
"""

import numpy as np


class WholeBox:
    """All of the box in one process.

    Parameters
    ----------
    shape : tuple of int
        Number of points (ny, nx).

    Attributes
    ----------
    shape : tuple of int
        Of the whole box.
    rows : slice
        What is here of the fields, which have shape (..., ny, nx).
    columns : slice
        What is here of the spectra, which have shape (..., ny + 1, nx // 2 + 1).
    rank, n_ranks : int

    See Also
    --------
    Slab : The same on one of several ranks.
    """

    rank, n_ranks = 0, 1

    def __init__(self, shape):
        ny, nx = self.shape = shape
        self.rows, self.columns = slice(0, ny), slice(0, nx // 2 + 1)

    def to_rows(self, spectra):
        """Return whole lines along x of what comes in whole lines along y.

        Parameters
        ----------
        spectra : ndarray of shape (..., ny, own columns), complex128

        Returns
        -------
        ndarray of shape (..., own rows, nx // 2 + 1), complex128
        """
        return spectra

    def to_columns(self, spectra):
        """Return whole lines along y of what comes in whole lines along x: undo `to_rows`."""
        return spectra

    def all(self, holds):
        """Return whether something holds on all ranks."""
        return bool(holds)

    def largest(self, value):
        """Return the largest value of all ranks."""
        return value

    def std(self, values):
        """Return the standard deviation of a field, of which `values` are the own rows."""
        return np.std(values)

    def together(self, function, *arguments):
        """Call a function on all ranks; a ValueError of one is raised on all of them."""
        return function(*arguments)


class Slab(WholeBox):
    """The share of one of several ranks: consecutive rows of the fields, columns of the spectra.

    Where the sizes are not divisible by the ranks, the first ranks have one line more.

    Parameters
    ----------
    shape : tuple of int
        Number of points (ny, nx) of the whole box.
    comm : communicator
        Of mpi4py, or what has its methods ``Get_rank``, ``Get_size``, ``allreduce`` and
        ``Alltoallv``. All ranks make the same calls in the same order.

    Raises
    ------
    ValueError
        When there are more ranks than rows or columns.

    See Also
    --------
    WholeBox : What the attributes and methods mean.
    """

    def __init__(self, shape, comm):
        super().__init__(shape)
        self._comm = comm
        self.rank, self.n_ranks = comm.Get_rank(), comm.Get_size()
        n_lines = (self.rows.stop, self.columns.stop)
        if self.n_ranks > min(n_lines):
            raise ValueError(
                f"comm has {self.n_ranks} ranks but shape={shape} has {n_lines[0]} rows of points "
                f"and {n_lines[1]} columns of modes; pass a larger shape, or run on "
                f"{min(n_lines)} ranks or fewer."
            )
        self._rows, self._columns = (_cut(n, self.n_ranks) for n in n_lines)
        self.rows, self.columns = self._rows[self.rank], self._columns[self.rank]
        self._buffers = {}

    def to_rows(self, spectra):
        n_rows = self.rows.stop - self.rows.start
        result = np.empty((*spectra.shape[:-2], n_rows, self._columns[-1].stop), complex)
        self._exchange(
            [spectra[..., rows, :] for rows in self._rows],
            [result[..., columns] for columns in self._columns],
        )
        return result

    def to_columns(self, spectra):
        n_columns = self.columns.stop - self.columns.start
        result = np.empty((*spectra.shape[:-2], self._rows[-1].stop, n_columns), complex)
        self._exchange(
            [spectra[..., columns] for columns in self._columns],
            [result[..., rows, :] for rows in self._rows],
        )
        return result

    def all(self, holds):
        return self._comm.allreduce(bool(holds), op=min)

    def largest(self, value):
        return self._comm.allreduce(value, op=max)

    def std(self, values):
        n_points = self.shape[0] * self.shape[1]
        mean = self._comm.allreduce(float(np.sum(values))) / n_points
        return np.sqrt(self._comm.allreduce(float(np.sum((values - mean) ** 2))) / n_points)

    def together(self, function, *arguments):
        result = error = None
        try:
            result = function(*arguments)
        except ValueError as caught:  # the other ranks would wait for this one
            error = caught
        told = self._comm.allreduce(f"rank {self.rank}: {error}" if error else "", op=max)
        if error is not None:
            raise error
        if told:
            raise ValueError(told)
        return result

    def _exchange(self, blocks, places):
        """Send one block to every rank, and put what comes from each in its place."""
        sent, sent_views = self._buffer("sent", blocks)
        received, received_views = self._buffer("received", places)
        for view, block in zip(sent_views, blocks, strict=True):
            view[...] = block
        self._comm.Alltoallv(
            [sent, [block.size for block in blocks]], [received, [place.size for place in places]]
        )
        for place, view in zip(places, received_views, strict=True):
            place[...] = view

    def _buffer(self, purpose, blocks):
        """Return a buffer for all blocks, one after the other, and its views of their shapes.

        Each is kept for the next exchange: new memory at every one took most of its time.
        """
        shapes = (purpose, *(block.shape for block in blocks))
        if shapes not in self._buffers:
            stops = np.cumsum([block.size for block in blocks])
            buffer = np.empty(stops[-1], complex)
            parts = np.split(buffer, stops[:-1])
            views = [part.reshape(b.shape) for part, b in zip(parts, blocks, strict=True)]
            self._buffers[shapes] = buffer, views
        return self._buffers[shapes]


def _cut(n_lines, n_ranks):
    """Return the lines of each rank, as slices."""
    edges = [rank * (n_lines // n_ranks) + min(rank, n_lines % n_ranks) for rank in range(n_ranks)]
    return [slice(start, stop) for start, stop in zip(edges, [*edges[1:], n_lines], strict=True)]
