"""scikit-learn's own checks, over every estimator that a package publishes.

For those of dask-exa, from wherever it is installed::

    pytest --pyargs dask_exa.testing.estimator_checks

For those of another package, in a test of it::

    from dask_exa.testing.estimator_checks import examples_of, parametrize_with_every_check

    @parametrize_with_every_check(examples_of("my_package"))
    def test_scikit_learn_checks(estimator, check):
        check(estimator)
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_checks as sklearn_checks
from sklearn.utils import get_tags

CHECKS_WITHOUT_DATA = (
    sklearn_checks.check_estimator_cloneable,
    sklearn_checks.check_estimator_tags_renamed,
    sklearn_checks.check_valid_tag_types,
    sklearn_checks.check_estimator_repr,
    sklearn_checks.check_no_attributes_set_in_init,
    sklearn_checks.check_do_not_raise_errors_in_init_or_set_params,
    sklearn_checks.check_mixin_order,
    sklearn_checks.check_parameters_default_constructible,
    sklearn_checks.check_get_params_invariance,
    sklearn_checks.check_set_params,
    sklearn_checks.check_estimators_unfitted,
)
"""What scikit-learn can check of estimators that take no matrices, such as those of fields."""


def public_estimators(package: str) -> list[type]:
    """Return the classes of estimators in ``__all__`` of a package and the packages inside it.

    Parameters
    ----------
    package : str
        Name under which it is imported.

    Examples
    --------
    >>> [cls.__name__ for cls in public_estimators("dask_exa.decomposition")]
    ['IncrementalPCA']
    """
    found = {
        value
        for module in _packages(package)
        for value in (getattr(module, name) for name in getattr(module, "__all__", ()))
        if inspect.isclass(value) and issubclass(value, BaseEstimator)
    }
    return sorted(found, key=lambda cls: cls.__name__)


def examples_of(
    package: str, arguments: Mapping[type, Mapping[str, Any]] | None = None
) -> list[Any]:
    """Return one of every public estimator of a package.

    Parameters
    ----------
    package : str
    arguments : mapping of class to parameters, optional
        What some of them cannot do without, or need for the small data of the checks.
    """
    arguments = arguments or {}
    return [cls(**arguments.get(cls, {})) for cls in public_estimators(package)]


def parametrize_with_every_check(
    estimators: Iterable[Any],
    expected_failures: Callable[[Any], dict[str, str]] | None = None,
) -> pytest.MarkDecorator:
    """Decorate a test of ``estimator`` and ``check``, which is to call ``check(estimator)``.

    Parameters
    ----------
    estimators : iterable of estimators
        Those whose tag ``input_tags.two_d_array`` is false take no matrices, which is what
        scikit-learn's checks have: they get the `CHECKS_WITHOUT_DATA`.
    expected_failures : callable, optional
        Names of checks that an estimator fails on purpose, with the reasons.
    """
    estimators = list(estimators)
    take_matrices = [e for e in estimators if get_tags(e).input_tags.two_d_array]
    mark = sklearn_checks.parametrize_with_checks(
        take_matrices, expected_failed_checks=expected_failures
    )
    names, pairs = mark.args
    others = [
        (estimator, functools.partial(check, type(estimator).__name__))
        for estimator in estimators
        if not get_tags(estimator).input_tags.two_d_array
        for check in CHECKS_WITHOUT_DATA
    ]
    return pytest.mark.parametrize(names, [*pairs, *others], **mark.kwargs)


def _packages(name: str) -> Iterator[Any]:
    package = importlib.import_module(name)
    yield package
    for module in pkgutil.iter_modules(package.__path__, f"{name}."):
        if module.ispkg:
            yield from _packages(module.name)
