"""A script of analytics for the tests: learns the density, or fails at a step."""

import os

from distributed import Client

from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Stream


def look(step, run):
    if int(step.timestep) == int(os.environ.get("TEST_FAILS_AT", -1)):
        raise ArithmeticError("no idea what this is")


if __name__ == "__main__":
    with Client() as client, Stream(client) as stream:
        pca = IncrementalPCA(2)
        run = stream.run(pca, variables="density", on_step=look, progress=False)
        print(f"learnt {run.n_steps} steps, n_samples_seen {pca.n_samples_seen_}")
