"""What a browser draws of the live page, in wide and in narrow windows."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from dask_exa.decomposition import IncrementalPCA
from tests.report.browser import find_chromium, look
from tests.report.watched import Detector, watched_stream

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium"),
]
HEIGHT = 3000
FIGURES = ("speed", "variance", "scores", "field", "reconstruction", "difference", "held", "waited")
BOXES = """(() => {
    if (!window.Bokeh || !Bokeh.documents.length || !Bokeh.documents[0].is_idle) return null;
    const boxes = {width: document.documentElement.scrollWidth};
    for (const name of %s) {
        const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name));
        const box = view.el.getBoundingClientRect();
        boxes[name] = [box.x, box.y, box.width, box.height].map(Math.round);
    }
    return boxes;
})()"""


def test_a_browser_draws_every_figure_in_wide_and_narrow_windows(
    lab, name, open_page, at_every_step, tmp_path
):
    models = {variable: IncrementalPCA(2) for variable in ("density", "potential")}
    with watched_stream(lab, name, 12, open_page) as (_, stream):
        stream.run(models, detector=Detector(), n_steps=12, progress=False)
        for width in (1400, 600):
            sight = look(stream.live_page, BOXES % list(FIGURES), size=(width, HEIGHT))
            (tmp_path / f"{width}.png").write_bytes(sight.png)  # for people, if something fails
            assert "<title>dask-exa: live</title>" in sight.html
            check_sight(imread(io.BytesIO(sight.png))[..., :3], sight.value, width)


def check_sight(picture, boxes, width):
    """Every figure is in the window, over no other one, and has the colours of its data."""
    assert picture.shape == (HEIGHT, width, 3)
    assert boxes.pop("width") <= width  # nobody has to scroll sideways
    assert no_overlap(boxes)
    parts = {}
    for figure, (left, top, wide, high) in boxes.items():
        assert left >= 0
        assert left + wide <= width
        assert top + high <= HEIGHT
        parts[figure] = picture[top : top + high, left : left + wide]
    assert share(parts["speed"], "#1f5f99") > 5e-4
    assert share(parts["variance"], "#1f5f99") > 5e-4
    assert share(parts["scores"], "#b2182b") > 5e-4  # the marks of alarms
    for figure in ("field", "reconstruction", "difference"):
        assert n_colors(parts[figure]) > 200  # a map of colours, which lines have not
    assert share(parts["held"], "#e6842a") > 0.2  # the colour of ranks without a free buffer
    assert n_colors(parts["waited"]) > 100  # of its bar


def share(part, color):
    """Return how much of a picture has a colour, nearly."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float((np.abs(part - wanted).max(axis=-1) < 0.03).mean())


def n_colors(part):
    return len(np.unique((255 * part.reshape(-1, 3)).round().astype(int), axis=0))


def no_overlap(boxes):
    taken = set()
    for left, top, wide, high in boxes.values():
        mine = {(x, y) for x in range(left + 2, left + wide - 2, 9) for y in range(top, top + high)}
        if taken & mine:
            return False
        taken |= mine
    return True
