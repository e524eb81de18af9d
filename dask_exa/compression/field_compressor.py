"""The compressor of a run: bases and transforms of every variable, learnt from its first steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from dask_exa._array import to_host
from dask_exa._parameters import check_count, check_positive
from dask_exa.compression.basis import Basis, cut, outside
from dask_exa.compression.bounds import Bound, check_bound
from dask_exa.compression.coding import (
    TRANSFORMS,
    Choice,
    as_values,
    decode_block,
    encode_and_choose,
    encode_block,
    needs_basis,
)
from dask_exa.decomposition import IncrementalPCA

_LEAST_DRIFT = 1e-6
"""Share of the energy outside of the modes that is rounding."""
_LEAST_SIZE = 256
"""Values of the smallest field whose modes are learnt."""
_SHARED_BY = 100
"""Blocks that are thought to share a basis, when its bytes are charged to them."""


@dataclass
class _Variable:
    """What is known of one variable."""

    learners: dict[tuple[int, ...], IncrementalPCA] = field(default_factory=dict)
    n_steps: int = 0
    version: int = 0
    began: int | None = 0
    """Number of steps when learning began; None while frozen bases are in use."""
    bases: list[Basis] = field(default_factory=list)
    history: list[tuple[int, Basis]] = field(default_factory=list)
    outside: dict[tuple[int, ...], float] = field(default_factory=dict)
    chosen: dict[tuple[int, ...], tuple[Choice, Basis | None]] = field(default_factory=dict)
    """By shape of block."""


class FieldCompressor(BaseEstimator):
    """Compress the fields of a run within a bound, with modes that are learnt from the run.

    The first steps teach `IncrementalPCA` the global modes of every variable and those of its
    patches. Then the bases are frozen; on the first block of each shape that is to be coded all
    transforms are tried, and the smallest is kept for the blocks to come. A block on which it
    disappoints is tried with all transforms again. When the share of a field that lies outside of
    its modes has grown, they are learnt anew from the steps that follow, as bases of the next
    version; what was coded before needs the earlier ones, which are kept.

    Parameters
    ----------
    bound : Bound
        That every block keeps.
    transforms : sequence of str
        Candidates, see `dask_exa.compression.encode_block`.
    n_modes : int, default=16
        Global modes of a variable; 0 for none.
    patch : tuple of int, default=(8, 8)
        Shape of patches, along the last dimensions of a field.
    n_learning_steps : int, default=8
        Steps that a basis is learnt from.
    drift : float, default=4.0
        Modes are learnt anew when the energy outside of them is so many times what it was.
    bases : mapping of str to Basis, optional
        Of an earlier run, by variable: they are used from the start, and are candidates beside
        those that are learnt.

    Attributes
    ----------
    choices_ : dict of str to dict
        What codes each variable, by the shape of its blocks; of those that were coded.
    bases_ : dict of str to list of (int, Basis)
        All bases by variable, each with the number of steps that it was learnt from.
    n_steps_seen_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.compression import Bound, FieldCompressor
    >>> x = np.linspace(0, 1, 64)
    >>> steps = [{"u": np.outer(np.sin(8 * x + t), np.cos(5 * x - t))} for t in range(12)]
    >>> compressor = FieldCompressor(Bound("rel", 1e-3)).fit(steps)
    >>> coded = compressor.encode(steps[-1])
    >>> error = compressor.decode(coded)["u"] - steps[-1]["u"]
    >>> bool(np.abs(error).max() <= 1e-3 * np.ptp(steps[-1]["u"])), len(coded["u"]) < 1000
    (True, True)
    """

    def __init__(
        self,
        bound: Bound,
        *,
        transforms: Sequence[str] = TRANSFORMS,
        n_modes: int = 16,
        patch: tuple[int, ...] = (8, 8),
        n_learning_steps: int = 8,
        drift: float = 4.0,
        bases: Mapping[str, Basis] | None = None,
    ) -> None:
        self.bound = bound
        self.transforms = transforms
        self.n_modes = n_modes
        self.patch = patch
        self.n_learning_steps = n_learning_steps
        self.drift = drift
        self.bases = bases

    @property
    def choices_(self) -> dict[str, dict[tuple[int, ...], Choice]]:
        """What codes each variable, by the shape of its blocks."""
        return {
            name: {shape: choice for shape, (choice, _) in variable.chosen.items()}
            for name, variable in self._known().items()
        }

    @property
    def bases_(self) -> dict[str, list[tuple[int, Basis]]]:
        """All bases of each variable, with the number of steps that they were learnt from."""
        return {name: list(variable.history) for name, variable in self._known().items()}

    @property
    def n_steps_seen_(self) -> int:
        """Number of steps that were learnt from."""
        return max((v.n_steps for v in self._known().values()), default=0)

    def fit(self, steps: Iterable[Any], y: Any = None) -> Self:
        """Forget all, and learn from steps.

        Parameters
        ----------
        steps : iterable of steps, see `partial_fit`
        y : None
            Ignored.
        """
        self.__dict__.pop("_variables", None)
        for step in steps:
            self.partial_fit(step)
        return self

    def partial_fit(self, step: Any, y: Any = None) -> Self:
        """Learn from a step; once the bases are frozen, look whether they still fit.

        Parameters
        ----------
        step : xarray.Dataset or mapping of str to array
            Fields by name.
        y : None
            Ignored.
        """
        self._check_parameters()
        variables = dict(self.__dict__.get("_variables", {}))
        for name, block in _fields(step).items():
            if block.dtype.kind in "iufc" and block.size:
                variables[name] = self._learn(variables.get(name), as_values(block))
        self._variables = variables
        return self

    def encode(self, step: Any) -> dict[str, bytes]:
        """Return the code of every field of a step.

        Parameters
        ----------
        step : xarray.Dataset or mapping of str to array

        Returns
        -------
        dict of str to bytes
        """
        return {name: self.encode_field(name, block)[0] for name, block in _fields(step).items()}

    def encode_field(self, name: str, block: Any) -> tuple[bytes, Basis | None]:
        """Return the code of a block of one variable, and the basis that decodes it.

        Parameters
        ----------
        name : str
        block : array
            A field, or several steps of it along a first axis.

        Returns
        -------
        data : bytes
        basis : Basis or None
            None where the block needs none.
        """
        check_bound(self.bound)
        block = np.asarray(to_host(block))
        known = self.__dict__.get("_variables", {}).get(name) or _Variable()
        if block.shape not in known.chosen:
            data, choice, basis = self._smallest(name, known, block)
            if known.history:
                known.chosen[block.shape] = choice, basis
            return data, basis
        choice, basis = known.chosen[block.shape]
        data = encode_block(
            block, self.bound, transforms=self.transforms, basis=basis, choose=choice
        )
        return data, basis if needs_basis(data) else None

    def decode(self, coded: Mapping[str, bytes]) -> dict[str, np.ndarray]:
        """Return the fields that `encode` has coded, also those of earlier bases.

        Parameters
        ----------
        coded : mapping of str to bytes

        Returns
        -------
        dict of str to array
        """
        return {name: self._decode_field(name, data) for name, data in coded.items()}

    def merge(self, *others: FieldCompressor) -> Self:
        """Take in what other compressors have learnt from other steps of the same variables.

        Bases that are in use stay, and are replaced by the next version when they drift.

        Parameters
        ----------
        *others : FieldCompressor
        """
        for other in others:
            for name, theirs in other._known().items():
                ours = self.__dict__.setdefault("_variables", {}).get(name)
                if ours is None:
                    self._variables[name] = copy.copy(theirs)
                    continue
                ours.n_steps += theirs.n_steps
                ours.history = [*ours.history, *theirs.history]
                for patch, learner in theirs.learners.items():
                    if patch in ours.learners:
                        learner = copy.deepcopy(ours.learners[patch]).merge(learner)
                    ours.learners[patch] = learner
        return self

    def __or__(self, other: FieldCompressor) -> FieldCompressor:
        return copy.deepcopy(self).merge(other)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that steps are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _known(self) -> dict[str, _Variable]:
        try:
            return self._variables
        except AttributeError:
            raise NotFittedError(
                "this FieldCompressor has learnt from no step; call partial_fit first."
            ) from None

    def _check_parameters(self) -> None:
        check_bound(self.bound)
        check_count("n_modes", self.n_modes, least=0)
        check_count("n_learning_steps", self.n_learning_steps)
        check_positive("drift", self.drift)
        for size in self.patch:
            check_count("patch", size)

    def _learn(self, known: _Variable | None, values: np.ndarray) -> _Variable:
        known = known or _Variable()
        if known.began is None:
            if self._has_drifted(known, values):
                known.began, known.learners = known.n_steps, {}
        elif known.n_steps - known.began >= self.n_learning_steps:
            self._freeze(known)
        if known.began is not None:
            for patch in self._patches(values.shape):
                self._teach(known, patch, values)
        known.n_steps += 1
        return known

    def _has_drifted(self, known: _Variable, values: np.ndarray) -> bool:
        """Whether the modes leave out much more than of the first step after they were frozen."""
        measured = {basis.patch: outside(values, basis) for basis in known.bases}
        known.outside = known.outside or measured
        allowed = {p: self.drift * max(e, _LEAST_DRIFT) for p, e in known.outside.items()}
        return any(measured[patch] > allowed[patch] for patch in measured)

    def _patches(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shapes whose modes are learnt: of the whole field, and of its patches."""
        wanted: list[tuple[int, ...]] = []
        if math.prod(shape) < _LEAST_SIZE:
            return wanted
        if "basis" in self.transforms and self.n_modes:
            wanted.append(shape)
        patch = tuple(self.patch)
        fitting = all(p <= s for p, s in zip(patch[::-1], shape[::-1], strict=False))
        if "patch-klt" in self.transforms and len(patch) <= len(shape) and fitting:
            wanted.append(patch)
        return wanted

    def _teach(self, known: _Variable, patch: tuple[int, ...], values: np.ndarray) -> None:
        samples = cut(values, patch)
        if patch not in known.learners:
            rank = samples.shape[1]
            if patch == values.shape:
                rank = min(rank, self.n_modes, self.n_learning_steps)
            known.learners[patch] = IncrementalPCA(n_components=rank)
        known.learners[patch].partial_fit(samples)

    def _freeze(self, known: _Variable) -> None:
        """Make bases of what was learnt."""
        known.version += bool(known.history)
        known.bases = [
            Basis(learner.mean_, learner.components_, patch, known.version)
            for patch, learner in known.learners.items()
            if learner.n_samples_seen_ >= len(learner.components_)
        ]
        known.began, known.outside, known.chosen = None, {}, {}
        known.history = [*known.history, *((known.n_steps, basis) for basis in known.bases)]

    def _smallest(
        self, name: str, known: _Variable, block: np.ndarray
    ) -> tuple[bytes, Choice, Basis | None]:
        """Try a block with every basis, and charge it its share of the bytes of that."""
        bases: list[Basis | None] = [None, *known.bases]
        if self.bases is not None and name in self.bases:
            bases.append(self.bases[name])
        found = []
        for basis in bases:
            names = self.transforms
            if basis is not None:
                names = [name for name in names if name in ("basis", "patch-klt")]
            data, choice = encode_and_choose(block, self.bound, transforms=names, basis=basis)
            share = len(basis.to_bytes()) / _SHARED_BY if basis is not None else 0
            found.append((len(data) + share, data, choice, basis))
        _, data, choice, basis = min(found, key=lambda trial: trial[0])
        return data, choice, basis if needs_basis(data) else None

    def _decode_field(self, name: str, data: bytes) -> np.ndarray:
        needed = needs_basis(data)
        if not needed:
            return decode_block(data)
        known = self.__dict__.get("_variables", {}).get(name) or _Variable()
        bases = [basis for _, basis in known.history]
        if self.bases is not None and name in self.bases:
            bases.append(self.bases[name])
        return decode_block(data, basis=next((b for b in bases if b.name == needed), None))


def _fields(step: Any) -> dict[str, np.ndarray]:
    if hasattr(step, "data_vars"):
        return {str(name): np.asarray(field.values) for name, field in step.data_vars.items()}
    if isinstance(step, Mapping):
        return {str(name): np.asarray(to_host(block)) for name, block in step.items()}
    raise TypeError(
        f"step is of type {type(step).__name__}; pass an xarray.Dataset or a mapping of names to "
        "arrays."
    )
