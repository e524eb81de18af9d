"""Which arguments of a call are for which step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sklearn
from sklearn.utils.metadata_routing import process_routing

from dask_exa.compose import _steps

Routed = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Arguments by name of the step, method and name of the argument."""


def routed(pipeline: Any, params: Mapping[str, Any], classes: Any) -> Routed:
    """Return the arguments that the steps are given when a pipeline learns more.

    Parameters
    ----------
    pipeline : StreamingPipeline
    params : mapping
        By ``step__argument``, or by name where scikit-learn's metadata routing is enabled.
    classes : array, optional
        For the last step.
    """
    enabled = sklearn.get_config()["enable_metadata_routing"]
    arguments = _by_request(pipeline, params) if enabled else _by_name(pipeline, params)
    if classes is not None:
        last = arguments.setdefault(pipeline.steps[-1][0], {})
        last.setdefault("partial_fit", {})["classes"] = classes
    return arguments


def add_partial_fit(router: Any) -> Any:
    """Add to a router that `partial_fit` hands on to that of the parts, and to their transform."""
    for _, route in router:
        route.mapping.add(caller="partial_fit", callee="partial_fit")
        route.mapping.add(caller="partial_fit", callee="transform")
    return router


def _by_request(pipeline: Any, params: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    found = process_routing(pipeline, "partial_fit", **params)
    return {
        name: {method: dict(found[name][method]) for method in ("partial_fit", "transform")}
        for name, step in pipeline.steps
        if _steps.is_there(step)
    }


def _by_name(pipeline: Any, params: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    arguments: dict[str, dict[str, dict[str, Any]]] = {}
    names = [name for name, _ in pipeline.steps]
    for key, value in params.items():
        name, separator, argument = key.partition("__")
        if not separator or name not in names:
            raise ValueError(
                f"{key} is not an argument of any step; write step__{argument or key}=… with one "
                f"of the steps {names}."
            )
        arguments.setdefault(name, {"partial_fit": {}})["partial_fit"][argument] = value
    return arguments
