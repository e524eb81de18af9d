"""What the tests of streams share."""

import pytest

from tests.ranks_lab import ranks_lab


@pytest.fixture(scope="module")
def lab():
    """Client of a scheduler in this process, without workers but those of the ranks."""
    with ranks_lab() as client:
        yield client


@pytest.fixture
def name(request):
    """Name of a stream that no other test uses."""
    return request.node.name.replace("[", "-").replace("]", "")
