"""A scheduler with a dashboard, for the tests of its live page."""

import numpy as np
import pytest

from dask_exa.inputs import showing
from dask_exa.insitu import stream as insitu_stream
from tests.ranks_lab import ranks_lab
from tests.report.watched import Page


@pytest.fixture(scope="module")
def lab():
    """Client of a scheduler with a dashboard, without workers but those of the ranks."""
    pytest.importorskip("bokeh.client")
    with ranks_lab(dashboard_address=":0") as client:
        yield client


@pytest.fixture
def at_every_step(monkeypatch):
    """Have every step shown, however fast they come."""
    monkeypatch.setattr(showing, "PAUSE", 0.0)
    monkeypatch.setattr(showing, "MAX_SHARE", np.inf)
    monkeypatch.setattr(insitu_stream, "PAUSE", 0.0)


@pytest.fixture
def name(request):
    """Name of a stream that no other test uses."""
    return request.node.name


@pytest.fixture
def open_page(lab, name):
    pages = []

    def open_now(stream=name):
        pages.append(Page(lab, stream))
        return pages[-1]

    yield open_now
    for page in pages:
        page.close()
