"""What the tests of streams share."""

import distributed
import pytest


@pytest.fixture(scope="module")
def lab():
    """Client of a scheduler in this process, without workers but those of the ranks."""
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=None, protocol="tcp://"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def name(request):
    """Name of a stream that no other test uses."""
    return request.node.name.replace("[", "-").replace("]", "")
