"""Every cell of an adaptive mesh as a row of features, for any estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin

from dask_exa._array import namespace
from dask_exa.inputs.amr.octree import Octree
from dask_exa.kernels import octree as kernels

_KINDS = ("value", "gradient", "contrast")


class LeafFeatures(TransformerMixin, BaseEstimator):
    """The cells of an adaptive mesh as rows: values, gradients, contrasts with neighbours, level.

    Nothing is learnt: `fit` takes down the names of the fields, so that steps with any number of
    cells become rows of the same features. Cells come in the order of the tree's fields.

    Parameters
    ----------
    fields : sequence of str, optional
        By default all.
    kinds : sequence of {"value", "gradient", "contrast"}, default=all three
        The gradient counts by its modulus. Contrast is the largest |a - b| / max(|a|, |b|) across
        a face, what refinement criteria look at.
    level : bool, default=True
        Whether the level of the leaf is the last feature.

    Attributes
    ----------
    names_ : list of str
        Fields.
    n_features_out_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.inputs.amr import LeafFeatures, Octree
    >>> x = np.arange(8) + np.zeros((8, 1))
    >>> tree = Octree.from_uniform({"rho": 2.0 * x}, extent=8)
    >>> features = LeafFeatures().fit(tree)
    >>> features.get_feature_names_out().tolist()
    ['rho', '|∇rho|', 'contrast of rho', 'level']
    >>> features.transform(tree)[3].round(2)
    array([6.  , 2.  , 0.33, 0.  ])
    """

    def __init__(
        self,
        fields: Sequence[str] | None = None,
        kinds: Sequence[str] = _KINDS,
        level: bool = True,
    ) -> None:
        self.fields = fields
        self.kinds = kinds
        self.level = level

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take down which fields there are.

        Parameters
        ----------
        X : Octree or xarray.Dataset
            A mesh, or a step of a reader of one.
        y : None
            Ignored.
        """
        unknown = [kind for kind in self.kinds if kind not in _KINDS]
        if unknown or not (self.kinds or self.level):
            raise ValueError(f"kinds={self.kinds!r} must be some of {', '.join(_KINDS)}.")
        tree = _as_tree(X)
        self.names_ = list(tree.fields) if self.fields is None else list(self.fields)
        _check_names(self.names_, tree)
        self.n_features_out_ = len(self.names_) * len(self.kinds) + bool(self.level)
        return self

    def transform(self, X: Any) -> Any:
        """Return the features of all cells.

        Parameters
        ----------
        X : Octree or xarray.Dataset

        Returns
        -------
        array of shape (n_cells, n_features), float64
        """
        if not hasattr(self, "names_"):
            self.fit(X)
        tree = _as_tree(X)
        _check_names(self.names_, tree)
        xp = namespace(tree.level)
        n_cells = len(tree) * int(np.prod(tree.block))
        rows = xp.empty((n_cells, self.n_features_out_), dtype=xp.float64)
        column = 0
        for name in self.names_:
            made = self._features(tree, name, xp)
            for kind in self.kinds:
                rows[:, column] = made[kind]
                column += 1
        if self.level:
            rows[:, -1] = xp.repeat(tree.level, n_cells // len(tree))
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features."""
        forms = {"value": "{}", "gradient": "|∇{}|", "contrast": "contrast of {}"}
        names = [forms[kind].format(name) for name in self.names_ for kind in self.kinds]
        return np.array([*names, "level"] if self.level else names, dtype=object)

    def _features(self, tree: Octree, name: str, xp: Any) -> dict[str, Any]:
        field = tree.fields[name]
        made: dict[str, Any] = {"value": field.reshape(-1)}
        if set(self.kinds) - {"value"}:
            size = xp.asarray(tree.cell_root)
            gradient, contrast = kernels.stencils(tree.tree, tree.lattice, field, size)
            made |= {"gradient": xp.sqrt(xp.sum(gradient**2, axis=1)), "contrast": contrast}
        return made

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that meshes are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


def _as_tree(X: Any) -> Octree:
    if isinstance(X, Octree):
        return X
    if isinstance(X, xr.Dataset):
        return Octree.from_patches(X)
    raise TypeError(f"X is a {type(X).__name__}; pass an Octree, or a step of a reader of one.")


def _check_names(names: Sequence[str], tree: Octree) -> None:
    missing = [name for name in names if name not in tree.fields]
    if missing:
        raise ValueError(f"fields={missing} are not there; there are {', '.join(tree.fields)}.")
