"""The live page on the Dask dashboard: what is half-private to distributed's web server."""

from __future__ import annotations

import importlib
import urllib.parse
from typing import Any

PATH, STREAM = "/exa", "stream"
"""Of the address of the page: its path, and what tells the stream to be seen first."""
# By name: reports are above this package, and what draws is loaded when somebody looks.
DRAWN_BY = "dask_exa.report.live"


def add_page(scheduler: Any) -> str:
    """Add the live page to the dashboard of a scheduler, once.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In its own process.

    Returns
    -------
    str
        Why there is no page; empty where there is one.
    """
    dashboards = [
        application
        for application in getattr(scheduler.http_application, "applications", ())
        if hasattr(application, "app_paths")
    ]
    if not dashboards:
        return _why_none()
    prefix = dashboards[0].prefix
    if any(prefix.rstrip("/") + PATH in one.app_paths for one in dashboards):
        return ""
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    application = BokehApplication(
        {PATH: _draw}, scheduler, prefix=prefix, template_variables=template_variables(scheduler)
    )
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()
    return ""


def page_template() -> Any:
    """Return the template of the pages of the dashboard, with its bar of links."""
    from distributed.dashboard.components.scheduler import env

    return env.get_template("simple.html")


def page_url(client: Any, stream: str) -> str:
    """Return the address of the live page of a stream under which a client's user can open it."""
    query = urllib.parse.urlencode({STREAM: stream})
    return f"{client.dashboard_link.rpartition('/')[0]}{PATH}?{query}"


def _draw(scheduler: Any, extra: dict[str, Any], document: Any) -> None:
    document.template_variables.update(extra)
    importlib.import_module(DRAWN_BY).draw(scheduler, document)


def _why_none() -> str:
    """Return what a scheduler without a dashboard lacks."""
    try:
        import distributed.dashboard.core  # noqa: F401 (imports Bokeh, and checks its version)
    except ImportError as error:
        return f"the scheduler cannot import Bokeh ({error}): pip install 'dask-exa[dashboard]'"
    return "the scheduler was started without a dashboard: pass it a dashboard_address"
