"""Time of 64 RK4 steps of Tokam2D on one core, and how much of it is Fourier transforms.

Run with: OMP_NUM_THREADS=1 python benchmarks/tokam2d.py
"""

import time

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from dask_exa.datasets import Tokam2D

N_STEPS = 64


def best_of(n_repeats, function):
    """Return the shortest time of several calls, in seconds; the first call is not counted."""
    function()
    times = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def transforms(simulation):
    """Return a function that does the transforms of N_STEPS steps and nothing else."""
    grid = simulation._grid
    spectra = np.zeros((4, *grid.spectrum_shape), dtype=complex)
    fluxes = np.ones((2, 2, *grid.shape))

    def function():
        for _ in range(4 * N_STEPS):
            grid.inverse(spectra)
            grid.forward(fluxes)

    return function


@click.command()
@click.option("--sizes", default="64,128,256", help="Grid sides, separated by commas.")
@click.option("--repeats", default=5, help="The shortest of so many is shown.")
def main(sizes, repeats):
    table = Table("model", "grid", "64 RK4 steps (s)", "a step (ms)", "in transforms (%)")
    for size in map(int, sizes.split(",")):
        for model in ("sol", "hw", "mhw"):
            start = getattr(Tokam2D, model)
            # Small steps: the time of a step does not depend on the state, stability does.
            simulation = start(
                shape=(size, size), rk4_steps_per_frame=N_STEPS, time_step=1e-3, seed=0
            )
            total = best_of(repeats, simulation.advance)
            share = best_of(repeats, transforms(simulation)) / total
            row = (f"{total:.3f}", f"{1e3 * total / N_STEPS:.2f}", f"{100 * share:.0f}")
            table.add_row(model, f"{size} x {size}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
