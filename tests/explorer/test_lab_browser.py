"""The explorer and the pickers in JupyterLab, in a real browser with a real kernel: what is done there arrives in Python, and back."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sslmem_kit.explorer.notebook.display import _HINT
from tests.support.browser import needs_browser, open_browser
from tests.support.fake_study import make_study
from tests.support.lab import Notebook, running_lab, write_notebook
from tests.support.pages import STATUS, counts, new_page, status, wait_for, wait_for_counts

pytestmark = [pytest.mark.browser, needs_browser]

RESET = "from sslmem_kit.explorer.link_state import State\ne.session.restore(State())"
_POINTS = """() => {
    const find = (view) => view.model.type === "Figure" ? [view] : [...view.children()].flatMap(find);
    const figure = Object.values(Bokeh.index).flatMap(find)[0], area = figure.canvas_view.el;
    area.scrollIntoView({ block: "center" });
    const { left, top } = area.getBoundingClientRect(), { x_scale, y_scale } = figure.frame;
    const { x, y } = figure.model.renderers[0].data_source.data;
    return Array.from(x, (value, index) => [left + x_scale.compute(value), top + y_scale.compute(y[index])]);
}"""
_FRAME = """() => {
    const find = (view) => view.model.type === "Figure" ? [view] : [...view.children()].flatMap(find);
    const figure = Object.values(Bokeh.index).flatMap(find)[0], area = figure.canvas_view.el;
    area.scrollIntoView({ block: "center" });
    const { left, top } = area.getBoundingClientRect(), box = figure.frame.bbox;
    return { x: left + box.left, y: top + box.top, width: box.width, height: box.height };
}"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab")
    (path / "notebooks").mkdir()
    return path


@pytest.fixture(scope="module")
def study(home):
    return make_study(home / "study")


@pytest.fixture(scope="module")
def lab(home):
    with running_lab(home) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def cells(home, lab, browser, request):
    """Opens a notebook of cells, in a page that must not have had errors nor asked another host."""
    with new_page(browser, height=1400) as page:

        def opened(*sources, run=True):
            notebook = Notebook(page, lab, write_notebook(home / "notebooks" / f"{request.node.name}.ipynb", *sources))
            if run:
                notebook.run_all()
            return notebook

        yield opened


@pytest.fixture(scope="module")
def open_explorer(home, lab, browser, study):
    """A notebook with an explorer ``e`` in its first cell, and a cell for what Python says."""
    with new_page(browser, height=1400) as page:
        path = write_notebook(
            home / "notebooks" / "explorer.ipynb", f"import sslmem_kit\ne = sslmem_kit.explore({str(study.path)!r})\ne", "0", "0"
        )
        notebook = Notebook(page, lab, path)
        notebook.run_all()
        page.wait_for_selector(STATUS, timeout=60_000)
        notebook.wait_for_kernel()
        yield notebook


@pytest.fixture
def explorer(open_explorer):
    """The same, as it is at the beginning."""
    open_explorer.run(1, RESET)
    wait_for_counts(open_explorer.page, shown=20, selected=0)
    return open_explorer


def say(notebook, expression):
    """What Python says of the explorer."""
    return notebook.say(2, expression)


def drawn(page):
    """Pixels of the scatter's frame that are coloured."""
    frame = page.evaluate(_FRAME)
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=frame))).convert("RGB")).astype(int)
    return int((np.ptp(picture, axis=2) > 60).sum())


def drag(page, *corners, steps=8):
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=steps)
    page.mouse.up()


def test_box_lasso_and_tap_select_and_python_has_the_selection(explorer):
    page = explorer.page
    assert drawn(page) > 20
    frame, points = page.evaluate(_FRAME), page.evaluate(_POINTS)
    middle = np.sort([x for x, _ in points])[9:11].mean()
    drag(page, (middle, frame["y"] + 2), (frame["x"] + 1, frame["y"] + frame["height"] - 2))
    wait_for_counts(page, selected=10)
    assert say(explorer, "len(e.session.selected)") == "10"
    left, right = frame["x"] + 2, frame["x"] + frame["width"] - 2
    top, bottom = frame["y"] + 2, frame["y"] + frame["height"] - 2
    page.locator(".bk-tool-icon-lasso-select").first.click()
    drag(page, (left, top), (right, top), (right, bottom), (left, bottom))
    wait_for_counts(page, selected=20)
    page.locator(".bk-tool-icon-box-select").first.click()
    x, y = max(page.evaluate(_POINTS))
    page.mouse.move(x, y)
    page.locator(".card img").wait_for()
    page.mouse.click(x, y)
    wait_for_counts(page, selected=1)
    wanted = say(explorer, "e.session.opened.ids[e.session.selected[0]]")
    page.get_by_role("heading", name=re.compile(rf"\b{wanted}\b")).first.wait_for()
    assert say(explorer, "e.session.sample") == wanted


def test_what_python_selects_is_shown(explorer):
    explorer.run(1, "import numpy as np\ne.session.select(e.session.shown[:7])")
    wait_for_counts(explorer.page, selected=7)
    explorer.run(1, "e.session.param.update(partition=[], classes=['two'])")
    wait_for_counts(explorer.page, shown=int(say(explorer, "(e.session.opened.labels == 2).sum()")))


def test_keys_of_the_scatter_are_not_taken_by_jupyterlab(explorer):
    page = explorer.page
    before = explorer.focus()
    page.get_by_role("application").focus()
    for key in ("Home", "PageDown", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Home")
    page.locator(".card:popover-open img").wait_for()
    page.keyboard.press(" ")
    wait_for_counts(page, selected=1)
    best = say(explorer, "e.session.opened.ids[e.session.shown[e.session.scores['sslmem'].values[e.session.shown].argmax()]]")
    assert say(explorer, "e.session.opened.ids[e.session.selected[0]]") == best
    page.get_by_role("application").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    wait_for(page, lambda: page.get_by_text("Neighbours", exact=False).count() or page.get_by_text("Nearest", exact=False).count())
    # What JupyterLab would do with a, b and d d: new cells, and one cell less.
    for key in "abdd":
        page.get_by_role("application").press(key)
    assert explorer.focus().split()[2] == before.split()[2] == "3"


def test_threshold_by_keyboard_and_by_number(explorer):
    page = explorer.page
    page.get_by_role("spinbutton", name="Threshold: score").select_text()
    page.keyboard.type("0.05")
    page.keyboard.press("Enter")
    wait_for_counts(page, limit=0.05)
    assert counts(page)["above"] == int(say(explorer, "(e.session.scores['sslmem'].values[e.session.shown] > 0.05).sum()"))
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wait_for(page, lambda: counts(page)["limit"] > 0.05)
    wait_for(page, lambda: say(explorer, "round(e.session.limit, 6)") == f"{float(slider.input_value()):.6g}")
    assert explorer.focus().split()[2] == "3"


def test_gallery_detail_filters_and_comparison(explorer):
    page = explorer.page
    page.get_by_label("shared (seen by f and g)").check()
    wait_for(page, lambda: counts(page)["shown"] == int(say(explorer, "np.isin(e.session.opened.partitions, (0, 1)).sum()")))
    explorer.run(1, "e.session.sample = int(e.session.opened.ids[e.session.shown[0]])")
    wait_for(page, lambda: page.locator("img[src^='data:image']").count() > 5)
    page.get_by_role("tab", name="Compare").or_(page.get_by_text("Compare", exact=True)).first.click()
    wait_for(page, lambda: say(explorer, "e.session.tab") == "compare")
    page.get_by_text("tau", exact=False).first.wait_for()
    page.get_by_text("Explore", exact=True).first.click()
    page.get_by_role("application").wait_for()


def test_files_arrive_and_the_link_restores_the_view(explorer, cells, study):
    page = explorer.page
    explorer.run(1, "e.session.partition = ['candidate', 'extra']\ne.session.select(e.session.shown[3:9])")
    wait_for_counts(page, selected=6)
    page.get_by_text("Take away", exact=True).first.click()
    ids = json.loads(say(explorer, "e.session.opened.ids[e.session.selected].tolist()"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Samples, CSV: download").click()
    assert pd.read_csv(download.value.path())["sample"].tolist() == ids
    with page.expect_download() as download:
        page.get_by_role("button", name="Samples, Split (npz): download").click()
    with np.load(download.value.path()) as split:
        assert split["sample"].tolist() == ids
    link, seen = page.get_by_label("Link to this view").input_value(), status(page)
    page.get_by_text("Explore", exact=True).first.click()
    page.get_by_role("application").wait_for()
    other = cells(f"import sslmem_kit\ne = sslmem_kit.explore({str(study.path)!r}, link={link!r}, dark=True)\ne", "0", "0")
    other.page.wait_for_selector(STATUS, timeout=60_000)
    assert status(other.page) == seen
    assert say(other, "[e.session.tab, e.session.opened.ids[e.session.selected].tolist()]") == f"['take away', {ids}]"
    assert other.page.locator(".sm-explorer").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(21, 25, 31)"


def test_saved_it_is_small_and_shows_a_picture_without_a_kernel(explorer, lab, browser):
    saved = explorer.save()
    assert explorer.path.stat().st_size < 300_000
    # What callbacks print has an output of its own.
    (output,) = (output for output in saved["cells"][0]["outputs"] if _HINT in "".join(output.get("data", {}).get("text/html", "")))
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', "".join(output["data"]["text/html"]))[1]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 300
    copy = explorer.path.with_name("no_kernel.ipynb")
    notebook = nbformat.from_dict(saved)
    notebook.metadata["kernelspec"]["name"] = "python3"
    nbformat.write(notebook, copy)
    with new_page(browser) as page:
        Notebook(page, lab, copy)
        page.get_by_text(_HINT).wait_for()
        assert page.locator("img[alt*='samples shown']").is_visible()
        assert page.locator(STATUS).count() == 0


def test_a_page_that_is_loaded_again_has_the_explorer_again(cells, study, lab):
    notebook = cells(f"import sslmem_kit\ne = sslmem_kit.explore({str(study.path)!r})\ne", "0", "0")
    page = notebook.page
    page.wait_for_selector(STATUS, timeout=60_000)
    notebook.run(1, "e.session.select(e.session.shown[:4])")
    wait_for_counts(page, selected=4)
    notebook.save()
    # Not `reload`, with which JupyterLab opens the notebooks of the other tests too.
    notebook = Notebook(page, lab, notebook.path)
    page.wait_for_selector(STATUS)
    wait_for_counts(page, selected=4)
    assert page.locator(STATUS).count() == 1
    notebook.wait_for_kernel()
    page.get_by_role("application").focus()
    page.keyboard.press("Escape")
    wait_for_counts(page, selected=0)
    assert say(notebook, "len(e.session.selected)") == "0"


def test_what_changes_while_the_page_builds_the_explorer_is_shown(cells, study):
    # Pictures of the gallery come and go with the selection: models that are new, or that are not there any more.
    change = "e.session.param.update(classes=[[], ['zero'], ['two']][step % 3]), e.session.select(e.session.shown[: step % 7])"
    notebook = cells(
        f"import asyncio, sslmem_kit\ne = sslmem_kit.explore({str(study.path)!r})\ne",
        f"async def change():\n  for step in range(41):\n    {change}\n    await asyncio.sleep(0.1)\ntask = asyncio.ensure_future(change())",
        "0",
    )
    page = notebook.page
    page.wait_for_selector(STATUS, timeout=60_000)
    assert say(notebook, "task.done()") == "False"
    wait_for(page, lambda: say(notebook, "task.done()") == "True")
    assert say(notebook, "task.result()") == "None"
    wait_for_counts(page, shown=int(say(notebook, "len(e.session.shown)")), selected=5)
    page.get_by_role("application").focus()
    page.keyboard.press("Escape")
    wait_for_counts(page, selected=0)


def test_two_explorers_and_a_picker_do_not_disturb_each_other(cells, study):
    notebook = cells(
        f"import sslmem_kit\nfirst = sslmem_kit.explore({str(study.path)!r})\nfirst",
        f"second = sslmem_kit.explore({str(study.path)!r})\nsecond",
        "0",
        f"picked = sslmem_kit.pick_threshold(sslmem_kit.open_study({str(study.path)!r}).scores())\npicked",
    )
    page = notebook.page
    lines = page.locator(STATUS)
    wait_for(page, lambda: lines.count() == 2, 60_000)
    notebook.wait_for_kernel()
    first = lines.nth(0).text_content()
    assert "20 of 223" in first
    assert lines.nth(1).text_content() == first
    notebook.cell(1).get_by_role("checkbox", name="zero").check()
    wait_for(page, lambda: lines.nth(1).text_content() != first)
    assert lines.nth(0).text_content() == first
    assert notebook.say(2, "[first.session.classes, second.session.classes]") == "[[], ['zero']]"
    handle = notebook.cell(3).locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    before = notebook.cell(3).locator("table").inner_text()
    handle.focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    wait_for(page, lambda: notebook.cell(3).locator("table").inner_text() != before)
    assert notebook.say(2, "picked.value < sorted(picked.scores['sslmem'].values)[199]") == "True"
