"""The fields of Tokam2D, handed over while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from dask_exa._array import namespace
from dask_exa.insitu.bridge import Bridge

SUFFIX = "_fft"


class InsituCallback(contextlib.AbstractContextManager):
    """Hand the fields of Tokam2D over, one step per output interval.

    Two lines in its ``main.py``::

        with InsituCallback(sim_runner, params):
            final_fields = sim_runner.run(initial_fields)

    It is one of ``SimulationRunner.callbacks``, beside those that save files, and sees the same
    fields. When analytics asks for an end, Tokam2D ends as it does after a numerical crash: it
    computes one more step of its integrator and saves what it has.

    Parameters
    ----------
    runner : SimulationRunner
        Of Tokam2D; its list ``callbacks`` gets this one within the ``with`` block.
    params : StaticParams, optional
        Of Tokam2D; gives coordinates to the fields.
    **options
        Of `dask_exa.insitu.Bridge`, such as ``scheduler`` and ``depth``.

    Attributes
    ----------
    bridge : Bridge or None
        None until the first step.
    """

    def __init__(self, runner: Any, params: Any = None, **options: Any) -> None:
        self.runner, self.params, self.options = runner, params, options
        self.bridge: Bridge | None = None

    def __call__(self, fields: Mapping[str, Any]) -> None:
        """Hand a step over.

        Parameters
        ----------
        fields : mapping of str to array
            Fourier coefficients by the name of the field with "_fft" behind it; of JAX or NumPy.
        """
        values = {name.removesuffix(SUFFIX): _in_space(field) for name, field in fields.items()}
        if self.bridge is None:
            self.bridge = self._open(values)
        runner = self.runner
        self.bridge.put(int(runner.step_diag_count), float(runner.time), **values)
        if self.bridge.should_stop():
            runner._stop = True

    def __enter__(self) -> Self:
        self.runner.callbacks.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.runner.callbacks.remove(self)
        if self.bridge is not None:
            self.bridge.__exit__(kind, error, trace)

    def _open(self, values: Mapping[str, np.ndarray]) -> Bridge:
        """Open the bridge, as the first step shows what there is."""
        coords = {}
        if self.params is not None:
            coords = {dim: np.asarray(getattr(self.params, f"{dim}_1d")) for dim in ("y", "x")}
        arrays = {
            name: {"global_shape": field.shape, "dims": ("y", "x"), "dtype": field.dtype}
            for name, field in values.items()
        }
        options = {"coords": coords, **self.options}
        return Bridge(options.pop("scheduler", None), None, arrays, **options)


def _in_space(field: Any) -> np.ndarray:
    """Return the field that Fourier coefficients stand for, in host memory."""
    return np.asarray(namespace(field).fft.ifft2(field).real)
