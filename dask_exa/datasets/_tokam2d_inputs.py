"""Read the parameters of a run of the Tokam2D code from the file it leaves beside its fields."""

import warnings
from pathlib import Path

import h5py
import numpy as np

from dask_exa.datasets._tokam2d_parameters import Gaussian, Tokam2DParameters, Wave

_MODELS = {"SOL": "sol", "HW": "hw", "mHW": "mhw"}
_DISSIPATION = ("diffusion", "hyperdiffusion", "friction")
_SHEATH = ("sigma_nn", "sigma_nphi", "sigma_phiphi", "sigma_phin")


def read_parameters(path, **changes):
    """Return the parameters of a run of Tokam2D.

    Parameters
    ----------
    path : path_like
        ``user_inputs.h5`` as the code writes it, or the YAML file that it was started with.
    **changes
        Fields of Tokam2DParameters that replace those of the file.

    Returns
    -------
    Tokam2DParameters

    Raises
    ------
    ValueError
        When the file asks for a model that is not built in, or leaves the time step open.

    Warns
    -----
    UserWarning
        When the run starts from the fields of another run: the initial values are then zero, and
        the parameters are for Tokam2D.from_fields.

    References
    ----------
    https://github.com/gyselax/tokam2d, ``example_inputs``.

    Examples
    --------
    >>> from dask_exa.datasets import read_parameters
    >>> read_parameters("user_inputs.h5", shape=(64, 64))  # doctest: +SKIP
    Tokam2DParameters(model='sol', shape=(64, 64), ...
    """
    path = Path(path)
    values = _read_yaml(path) if path.suffix in (".yaml", ".yml") else _read_hdf5(path)
    fields = _grid_and_time(values, changes) | _physics(values)
    if values.get("load_init_fields", False):
        warnings.warn(
            f"the run of {path} starts from fields saved in {values.get('load_init_path')!r}; pass "
            "those to Tokam2D.from_fields with these parameters, whose initial values are zero.",
            stacklevel=2,
        )
    else:
        fields |= _initial_state(values)
    return Tokam2DParameters(**(fields | changes))


def read_time_step(folder):
    """Return the time step of the run in a folder, or None where no file beside its fields has it.

    Parameters
    ----------
    folder : path_like
        With ``user_inputs.h5``, as the code leaves it, or the YAML file that it was started with.

    Returns
    -------
    float or None
        In 1/Omega_ci.
    """
    folder = Path(folder)
    written = folder / "user_inputs.h5"
    if written.is_file():
        return _clock(_read_hdf5(written))["time_step"]
    found = {_clock(_read_yaml(path))["time_step"] for path in folder.glob("*.yaml")} - {None}
    return found.pop() if len(found) == 1 else None


def _read_hdf5(path):
    with h5py.File(path) as file:
        return {
            name: data.asstr()[()] if data.dtype.kind == "O" else data[()]
            for name, data in file.items()
        }


def _read_yaml(path):
    import yaml  # comes with Dask

    sections = yaml.safe_load(path.read_text())
    parts = sections.values() if isinstance(sections, dict) else ()
    return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}


def _rows(values, prefix, names):
    """Return parallel lists ``prefix + name`` as rows; a list left out is zero."""
    columns = [np.atleast_1d(values.get(prefix + name, 0.0)) for name in names]
    return np.stack(np.broadcast_arrays(*columns), axis=1).astype(float).tolist()


def _gaussians(values, prefix):
    names = ("ampl_n", "ampl_phi", "y0", "x0", "sigma_y", "sigma_x")
    return tuple(
        Gaussian(density, potential, (y, x), (width_y, width_x))
        for density, potential, y, x, width_y, width_x in _rows(values, prefix + "gauss_", names)
        if density or potential
    )


def _clock(values):
    step, steps, interval = (
        None if values.get(key) is None else float(values[key])
        for key in ("dt_rk4", "rk4_per_diag", "dt_diag")
    )
    if step is None and interval is not None and steps is not None:
        step = interval / steps
    if steps is None and interval is not None and step is not None:
        steps = round(interval / step)
    return {"time_step": step, "rk4_steps_per_frame": steps}


def _grid_and_time(values, changes):
    clock = _clock(values) | changes
    for name in ("time_step", "rk4_steps_per_frame"):
        if clock[name] is None:
            raise ValueError(
                f"{name} is left open by the file, which has neither it nor what it follows from; "
                f"pass {name}=... to read_parameters."
            )
    ny, nx = int(values["Ny"]), int(values["Nx"])
    return {
        "shape": (ny, nx),
        "length": (float(values.get("Ly") or ny), float(values.get("Lx") or nx)),
        "time_step": clock["time_step"],
        "rk4_steps_per_frame": int(clock["rk4_steps_per_frame"]),
        "dealias": bool(values.get("fft_filter", True)),
    }


def _physics(values):
    equation = values.get("eq", "SOL")
    if equation not in _MODELS:
        raise ValueError(
            f"eq={equation!r} of the file is not built in; the models are {', '.join(_MODELS)}."
        )
    model = {"model": _MODELS[equation], "curvature": float(values.get("g") or 0.0)}
    fields = model | _dissipation(values)
    if equation != "SOL":  # which reads neither losses nor sources
        return fields | {
            "adiabaticity": float(values["C"]),
            "density_gradient": float(values["kappa"]),
        }
    losses = {name: float(values.get(name) or 0.0) for name in _SHEATH}
    fields |= losses | {"sources": _gaussians(values, "source_")}
    if values.get("source_balance_par_loss", False):
        fields["uniform_source"] = float(values["init_uni_ampl_n"]) * losses["sigma_nn"]
    return fields


def _dissipation(values):
    fields: dict[str, float] = {}
    kinds = np.atleast_1d(values.get("dissipation_type", "diffusion"))
    for field, key in (("density", "Dn"), ("potential", "Dphi")):
        for kind, value in zip(kinds, np.atleast_1d(values[key]), strict=True):
            if kind not in _DISSIPATION:
                raise ValueError(
                    f"dissipation_type={kind!r} of the file is unknown; use one of "
                    f"{', '.join(_DISSIPATION)}."
                )
            name = f"{field}_{kind}"
            fields[name] = fields.get(name, 0.0) + float(value)
    return fields


def _initial_state(values):
    waves = _rows(values, "init_harm_", ("ky", "kx", "ampl_n", "ampl_phi"))
    return {
        "background_density": float(values.get("init_uni_ampl_n", 1.0)),
        "background_potential": float(values.get("init_uni_ampl_phi", 0.0)),
        "initial_gaussians": _gaussians(values, "init_"),
        "initial_waves": tuple(
            Wave((int(my), int(mx)), density, potential)
            for my, mx, density, potential in waves
            if density or potential
        ),
        "density_noise": float(values.get("init_rand_ampl_n", 0.0)),
        "potential_noise": float(values.get("init_rand_ampl_phi", 0.0)),
    }
