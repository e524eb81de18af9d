"""A browser without a display, asked over the Chrome DevTools Protocol until a page is ready."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tornado.websocket import websocket_connect

TIMEOUT = 30
MAX_MESSAGE = 1 << 26


class Sight(NamedTuple):
    """What a browser shows of a page."""

    png: bytes
    html: str
    value: Any
    """Of the expression that was waited for."""


def find_chromium():
    """Return the path of Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def look(url, until, *, size=(1400, 1300)):
    """Open a page, wait until a JavaScript expression is true, and return what is seen then."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            find_chromium(), "--headless", "--no-sandbox", "--disable-gpu",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        browser = subprocess.Popen(command, start_new_session=True, **quiet)
        try:
            address = _page_of(Path(profile), browser)
            with ThreadPoolExecutor(1) as pool:  # whose thread has no loop of somebody else
                return pool.submit(asyncio.run, _look(address, url, until, size)).result()
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # with its children, which write to the profile
            browser.wait()


def _page_of(profile, browser):
    """Return the address under which the browser's empty page takes commands."""
    port, deadline = profile / "DevToolsActivePort", time.monotonic() + TIMEOUT
    while not (port.is_file() and port.read_text().count("\n")):
        assert browser.poll() is None, f"the browser has ended with {browser.returncode}"
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.02)
    url = f"http://127.0.0.1:{port.read_text().split()[0]}/json"
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        if pages:
            return pages[0]["webSocketDebuggerUrl"]
    raise AssertionError("the browser has no page")


async def _look(address, url, until, size):
    async with asyncio.timeout(TIMEOUT):
        return await _sight(address, url, until, size)


async def _sight(address, url, until, size):
    socket = await websocket_connect(address, max_message_size=MAX_MESSAGE)
    number = 0

    async def ask(method, **params):
        nonlocal number
        number += 1
        await socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(await socket.read_message())).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def evaluate(expression):
        result = await ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    await ask("Emulation.setDeviceMetricsOverride", **screen)
    await ask("Page.navigate", url=url)
    while not (value := await evaluate(until)):
        await asyncio.sleep(0.05)
    html = await evaluate("document.documentElement.outerHTML")
    picture = await ask("Page.captureScreenshot", format="png")
    socket.close()
    return Sight(base64.b64decode(picture["data"]), html, value)
