"""Corrupt a patch of a simulated field on purpose, with its true label."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

KINDS = ("nan", "nonphysical", "spike")


@dataclass(frozen=True)
class Injection:
    """One corrupted patch of one field at one timestep.

    Parameters
    ----------
    timestep : int
        Number of the output frame, 1 or more.
    kind : {"nan", "nonphysical", "spike"}
        "nan": not a number. "nonphysical": minus the absolute value, lower by ``amplitude``
        standard deviations of the field: a negative density. "spike": higher by ``amplitude``
        standard deviations.
    field : str, default="density"
        Variable to corrupt.
    patch : tuple of int, optional
        First index and index after the last along each dimension: (y_start, y_stop, x_start,
        x_stop) of a plane. Default: an eighth of each side, at a place drawn from ``seed`` and
        ``timestep``.
    amplitude : float, default=10
        In standard deviations of the field.
    into : {"output", "state"}, default="output"
        "output": only the yielded frame is wrong, as after a fault in memory or on the way; the
        simulation goes on from the right state. "state": it goes on from the corrupted state.
    seed : int, default=0
        For the place of the patch.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets import Injection
    >>> injection = Injection(timestep=3, kind="nan", patch=(0, 2, 0, 4))
    >>> fields = {"density": np.ones((8, 8))}
    >>> injection.apply(fields)
    {'injected': 'nan', 'injected_field': 'density', 'injected_patch': (0, 2, 0, 4)}
    >>> int(np.isnan(fields["density"]).sum())
    8
    """

    kinds: ClassVar[tuple[str, ...]] = KINDS

    timestep: int
    kind: str
    field: str = "density"
    patch: tuple | None = None
    amplitude: float = 10.0
    into: str = "output"
    seed: int = 0

    def __post_init__(self):
        if self.kind not in self.kinds:
            known = ", ".join(self.kinds)
            raise ValueError(f"kind={self.kind!r} is unknown; pass one of {known}.")
        if self.into not in ("output", "state"):
            raise ValueError(f"into={self.into!r} is unknown; pass 'output' or 'state'.")
        if self.timestep < 1:
            raise ValueError(
                f"timestep={self.timestep} is never yielded; the first frame has timestep 1."
            )

    def apply(self, fields, *, n_rows=None, first_row=0, std=np.std, n_dims=None):
        """Corrupt the field in place and return its truth label.

        Parameters
        ----------
        fields : dict of str to ndarray of shape (ny, nx), or of any dimensions
            Or those rows of them that are here.
        n_rows : int, optional
            Rows of the whole field, which patches refer to. Default: as many as are here.
        first_row : int, default=0
            Place of the first row here.
        std : callable, default=numpy.std
            Gives the standard deviation of the whole field from the rows here.
        n_dims : int, optional
            Leading dimensions that a patch is cut out of; the components of a tensor follow.
            Default: all.

        Returns
        -------
        dict
            ``injected`` (the kind), ``injected_field`` and ``injected_patch``.

        Raises
        ------
        ValueError
            When the field does not exist or the patch lies outside of it.
        """
        if self.field not in fields:
            raise ValueError(f"field={self.field!r} is unknown; pass one of {', '.join(fields)}.")
        values = fields[self.field]
        patch = self._patch_of((n_rows or len(values), *values.shape[1:n_dims]))
        rows = slice(*(max(0, edge - first_row) for edge in patch[:2]))
        others = (slice(*edges) for edges in zip(patch[2::2], patch[3::2], strict=True))
        region = values[(rows, *others)]
        excess = self.amplitude * std(values)
        if self.kind == "nan":
            region[...] = np.nan
        elif self.kind == "nonphysical":
            region[...] = -np.abs(region) - excess
        else:
            region += excess
        return {"injected": self.kind, "injected_field": self.field, "injected_patch": patch}

    def _patch_of(self, shape):
        if self.patch is None:
            random = np.random.default_rng([self.seed, self.timestep])
            sizes = [max(1, n // 8) for n in shape]
            rooms = (max(1, n - size) for n, size in zip(shape, sizes, strict=True))
            corner = [int(random.integers(room)) for room in rooms]
            return tuple(e for at, n in zip(corner, sizes, strict=True) for e in (at, at + n))
        patch = tuple(int(edge) for edge in self.patch)
        fits = len(patch) == 2 * len(shape)
        edges = zip(patch[::2], patch[1::2], shape, strict=True) if fits else ()
        if not fits or not all(0 <= start < stop <= n for start, stop, n in edges):
            names = "y_start, y_stop, x_start, x_stop" if len(shape) == 2 else "start, stop, …"
            raise ValueError(
                f"patch={patch} lies outside of a field of shape {shape}; pass ({names})."
            )
        return patch


def injections_by_timestep(inject, record=Injection):
    """Return {timestep: Injection} from None, one or several, as objects or as dictionaries.

    Parameters
    ----------
    inject : None, Injection, dict, or sequence of them
    record : type, default=Injection
        What a dictionary has the arguments of: a subclass, where a simulation has more kinds.

    Examples
    --------
    >>> from dask_exa.datasets._injection import injections_by_timestep
    >>> injections_by_timestep({"timestep": 2, "kind": "spike"})[2].kind
    'spike'
    """
    if inject is None:
        return {}
    rows = (inject,) if isinstance(inject, (dict, Injection)) else inject
    injections = {}
    for row in rows:
        injection = row if isinstance(row, Injection) else record(**row)
        if injection.timestep in injections:
            raise ValueError(
                f"inject has two entries with timestep={injection.timestep}; pass one a timestep."
            )
        injections[injection.timestep] = injection
    return injections
