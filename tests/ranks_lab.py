"""A scheduler in the process of the tests, whose only workers are those of ranks."""

import contextlib

import distributed


@contextlib.contextmanager
def ranks_lab(dashboard_address=None):
    """Give a client of it, which is not the current one."""
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=dashboard_address, protocol="tcp://"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
