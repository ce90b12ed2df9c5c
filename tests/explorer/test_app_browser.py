"""The served explorer in a real browser: what a person sees, does with mouse and keys, and takes away, against numbers from NumPy and SciPy."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from scipy import stats

from sslmem_kit import store
from sslmem_kit.data.partition import UNUSED
from sslmem_kit.data.samples import load_samples
from sslmem_kit.explorer.link_state import pack_ids
from sslmem_kit.names import FIXED_WEIGHTS, PAIRS_OF_VIEWS, PARTITION_CODE, PARTITIONS, SSLMEM
from sslmem_kit.scores import mean_over_pairs
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.store.directory import create_or_resume
from sslmem_kit.study import open_study
from tests.support.browser import free_port, needs_browser, open_browser
from tests.support.fake_study import CLASSES, add_group, make_study
from tests.support.pages import (
    FIGURE,
    ROOT,
    counts,
    drag,
    focused,
    new_page,
    picture,
    places,
    running_app,
    status,
    texts,
    visit,
    wait_for,
    wait_for_counts,
)

pytestmark = [pytest.mark.browser, needs_browser]
CANDIDATE = PARTITION_CODE["candidate"]
TRICK = '<img src=x onerror="window.tricked = 1">'
"""A class name that would run if it were taken for HTML."""
LARGE = 101_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies: ``digits`` with all that a store can have, ``less`` of the same data, and some that lack something or are odd."""
    root = tmp_path_factory.mktemp("studies")
    fingerprint = load_samples(load_spec("digits")).dataset.fingerprint
    digits, less = make_study(root / "digits"), make_study(root / "less", samples=120, seeds=2, effect=0.3)
    for study in (digits, less):
        store.set_attributes(study.results_path, {"data_fingerprint": fingerprint})
    rng = np.random.default_rng(1)
    samples = digits.results.sizes["sample"]
    layers = xr.Dataset({"alignment": (("sample", "encoder", "layer"), rng.random((samples, 6, 3)))}, {"layer": [1, 2, 3]})
    layers["alignment"].attrs[PAIRS_OF_VIEWS] = FIXED_WEIGHTS
    add_group(digits, "layers", layers)
    make_study(root / "begun", samples=60, complete=False)
    make_study(root / "tricky", samples=120, seeds=1, classes=(TRICK, "=1+1", "two"))
    create_or_resume(root / "planned", digits.spec)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running_app(*(folder / name for name in ("digits", "less", "begun", "tricky", "planned"))) as address:
        yield address


@pytest.fixture(scope="module")
def scores(folder: Path) -> xr.Dataset:
    return open_study(folder / "digits").scores()


def candidates(scores: xr.Dataset) -> xr.Dataset:
    """What the explorer shows at first."""
    return scores.isel(sample=np.flatnonzero(scores["partition"].values == CANDIDATE))


def limit_of(scores: xr.Dataset, quantile: float = 0.9) -> float:
    return float(np.quantile(candidates(scores)[SSLMEM].values, quantile))


def points_of(scores: xr.Dataset) -> np.ndarray:
    return np.stack([scores["alignment_f"].values, scores["alignment_g"].values], axis=1)


def address(url: str, **state: Any) -> str:
    return f"{url}?{urlencode({'v': 1, **state})}"


def gallery(page: Any) -> list[int]:
    """Ids of the samples that the gallery lists."""
    return [int(text.removeprefix("#")) for text in page.locator(".gallery .item .id").all_inner_texts()]


def stage_is_ready(page: Any) -> None:
    """The scatter is laid out, and the server knows its window."""
    page.locator(".stage .line").filter(has_text="points").wait_for()
    page.wait_for_function(f"() => ({FIGURE}).frame.bbox.width > 100")
    page.wait_for_timeout(300)  # of rest, after which the window is told


# -- scatter -----------------------------------------------------------------------------------------------------------------------


def test_points_are_drawn_where_they_belong_and_axes_can_be_chosen(browser: Any, url: str, scores: xr.Dataset) -> None:
    shown = candidates(scores)
    with new_page(browser) as page:
        visit(page, url)
        stage_is_ready(page)
        assert points_are_seen(page, points_of(shown))
        filters = page.locator(".sm-filters")
        filters.get_by_label("x axis").select_option(label="standard error")
        filters.get_by_label("y axis").select_option(label="score")
        wait_for(page, lambda: "standard error" in page.locator(".stage[role=application]").get_attribute("aria-label"))
        points = np.stack([shown["standard_error"].values, shown[SSLMEM].values], axis=1)
        page.mouse.move(1, 1)
        assert wait_for(page, lambda: points_are_seen(page, points))
        filters.get_by_label("colour").select_option(label="layers alignment layer=2 g - f")
        page.locator(".stage .line").filter(has_text="colour: layers alignment layer=2 g - f").wait_for()
        wait_for(page, lambda: "colour=layers" in page.url)


def points_are_seen(page: Any, points: np.ndarray) -> bool:
    """Whether there is ink at every point, and none beside the outermost ones."""
    seen = picture(page).astype(int)
    at = np.array(places(page, points)).round().astype(int)
    ink = np.ptp(seen[at[:, 1], at[:, 0]], axis=1) + (255 - seen[at[:, 1], at[:, 0]].max(axis=1)) > 20
    lowest = at[at[:, 1].argmax()]
    beside = seen[lowest[1] + 5 : lowest[1] + 9, lowest[0] - 2 : lowest[0] + 3]
    return bool(ink.all()) and bool((beside.min(axis=-1) > 200).mean() > 0.5)


def test_a_box_a_lasso_and_a_tap_select_and_shift_adds(browser: Any, url: str, scores: xr.Dataset) -> None:
    shown = candidates(scores)
    points = points_of(shown)
    xs = np.sort(points[:, 0])
    gap = 4 + int(np.diff(xs)[4:-4].argmax())
    edge, low, high = (xs[gap] + xs[gap + 1]) / 2, points.min() - 0.02, points.max() + 0.02
    with new_page(browser) as page:
        visit(page, url)
        stage_is_ready(page)
        drag(page, places(page, [(low, low), (edge, high)]))
        wait_for_counts(page, selected=gap + 1)
        assert set(gallery(page)) == set(shown["sample"].values[points[:, 0] < edge].tolist())
        page.keyboard.down("Shift")
        drag(page, places(page, [(edge, low), (high, high)]))
        page.keyboard.up("Shift")
        wait_for_counts(page, selected=len(shown["sample"]))
        page.locator(".bk-tool-icon-lasso-select").first.click()
        drag(page, places(page, [(low, low), (edge, low), (edge, high), (low, high), (low, low + 0.001)]))
        wait_for_counts(page, selected=gap + 1)
        alone = lonely(points)
        page.mouse.click(*places(page, points[[alone]])[0])
        wait_for_counts(page, selected=1)
        page.locator(".detail h3").filter(has_text=f"Sample {shown['sample'].values[alone]}").wait_for()


def lonely(points: np.ndarray) -> int:
    """The point that is farthest from its nearest one."""
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    return int(np.where(np.eye(len(points), dtype=bool), np.inf, distances).min(axis=1).argmax())


def test_pointing_shows_the_image(browser: Any, url: str, folder: Path, scores: xr.Dataset) -> None:
    shown = candidates(scores)
    points = points_of(shown)
    alone = lonely(points)
    with new_page(browser) as page:
        visit(page, url)
        stage_is_ready(page)
        x, y = places(page, points[[alone]])[0]
        page.mouse.move(x + 30, y)
        page.mouse.move(x, y, steps=4)
        card = page.locator(".stage .card")
        card.get_by_text(str(shown["sample"].values[alone]), exact=True).wait_for()
        image = Image.open(io.BytesIO(base64.b64decode(card.locator("img").get_attribute("src").partition(",")[2])))
        stored = open_study(folder / "digits").tree["images/thumbnail"].sel(sample=shown["sample"].values[alone]).values
        np.testing.assert_array_equal(np.asarray(image), stored[..., 0])
        words = card.inner_text()
        assert f"{shown[SSLMEM].values[alone]:.3g} [" in words
        assert CLASSES[int(shown["label"].values[alone])] in words
        page.mouse.move(1, 1)
        card.wait_for(state="hidden")


def test_keys_go_through_the_points(browser: Any, url: str, scores: xr.Dataset) -> None:
    ranked = candidates(scores).sortby(SSLMEM, ascending=False)["sample"].values
    with new_page(browser) as page:
        visit(page, url)
        stage_is_ready(page)
        page.locator(".stage[role=application]").focus()
        spoken = page.locator(".stage .spoken")
        for key, wanted in (("Home", ranked[0]), ("PageDown", ranked[1]), ("PageDown", ranked[2]), ("PageUp", ranked[1])):
            page.keyboard.press(key)
            wait_for(page, lambda wanted=wanted: spoken.inner_text().startswith(f"sample {wanted},"))
        page.keyboard.press("Space")
        wait_for_counts(page, selected=1)
        assert gallery(page) == [ranked[1]]
        before = spoken.inner_text()
        page.keyboard.press("ArrowLeft")
        wait_for(page, lambda: spoken.inner_text() != before)
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        page.locator(".detail h3").filter(has_text=f"Sample {ranked[0]}").wait_for()
        page.keyboard.press("Escape")
        wait_for_counts(page, selected=0)


def test_many_points_are_datashaded_and_still_selected(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from large_study import make_large_study

    study = make_large_study(tmp_path / "large", LARGE)
    points = points_of(study.scores())
    with running_app(study.path) as url, new_page(browser) as page:
        visit(page, address(url, partition="[]"))
        assert counts(page)["shown"] == LARGE
        page.locator(".stage .line").filter(has_text="datashaded: 101,000 points").wait_for()
        stage_is_ready(page)
        crowd = points[:: LARGE // 40]
        wait_for(page, lambda: ink_share(page, crowd) > 0.95)
        middle = np.median(points, axis=0)
        inside = ((points > middle - 0.05) & (points < middle + 0.05)).all(axis=1).sum()
        a_pixel = 1000
        drag(page, places(page, [middle - 0.05, middle + 0.05]))
        wait_for(page, lambda: abs(counts(page)["selected"] - inside) < a_pixel and counts(page)["selected"] > 0)
        assert page.locator(".gallery .summary").inner_text().startswith(f"{counts(page)['selected']:,} selected")
        x, y = places(page, [middle])[0]
        page.mouse.click(x, y)
        wait_for_counts(page, selected=1)


def ink_share(page: Any, points: np.ndarray) -> float:
    seen, at = picture(page).astype(int), np.array(places(page, points)).round().astype(int)
    return float((seen[at[:, 1], at[:, 0]].min(axis=1) < 235).mean())


# -- gallery and detail --------------------------------------------------------------------------------------------------------------


def test_the_gallery_follows_and_orders(browser: Any, url: str, scores: xr.Dataset) -> None:
    ids = scores["sample"].values[::9]
    chosen = scores.sel(sample=ids)
    with new_page(browser) as page:
        visit(page, address(url, ids=pack_ids(ids)))
        wait_for_counts(page, selected=len(ids))
        by_score = chosen.sortby(SSLMEM, ascending=False)["sample"].values.tolist()
        wait_for(page, lambda: gallery(page) == by_score)
        first = page.locator(".gallery .item").first
        sample = chosen.sel(sample=by_score[0])
        assert first.locator(".score").inner_text() == f"{float(sample[SSLMEM]):.4f}"
        assert first.locator(".interval").inner_text() == f"[{float(sample['low']):.4f}, {float(sample['high']):.4f}]"
        assert first.locator(".class").inner_text() == CLASSES[int(sample["label"])]
        assert first.locator(".partition").inner_text() == PARTITIONS[int(sample["partition"])]
        page.get_by_role("button", name="lowest first").click()
        wait_for(page, lambda: gallery(page) == by_score[::-1])
        page.locator(".gallery select").select_option(label="alignment on f")
        wait_for(page, lambda: gallery(page) == chosen.sortby("alignment_f")["sample"].values.tolist())
        wait_for(page, lambda: all(page.locator(".gallery img").evaluate_all("all => all.map((one) => one.naturalWidth === 8)")))


def test_the_detail_has_all_that_is_stored(browser: Any, url: str, folder: Path, scores: xr.Dataset) -> None:
    sample = int(candidates(scores).sortby(SSLMEM)["sample"].values[-1])
    study = open_study(folder / "digits")
    with new_page(browser) as page:
        visit(page, url)
        page.locator(f".gallery .item[data-sample='{sample}']").click()
        detail = page.locator(".detail")
        detail.get_by_role("heading", name=f"Sample {sample}").wait_for()
        sources = detail.locator(".strip img").evaluate_all("all => all.map((one) => one.src)")
        kept = study.tree["views"].to_dataset()["thumbnail"].sel(kept=sample).values
        for source, view in zip([detail.locator(".clean img").get_attribute("src"), *sources], kept, strict=True):
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))), view[..., 0]
            )
        alignment = mean_over_pairs(study.results["alignment"].sel(sample=sample)).compute()
        rows = [row.split("\t") for row in detail.locator(".encoders tbody tr").all_inner_texts()]
        assert [row[0] for row in rows] == [str(name) for name in alignment["encoder"].values]
        assert [float(row[2]) for row in rows] == pytest.approx(alignment.values.tolist(), abs=6e-5)
        charts = detail.locator("svg").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        assert [chart.split(":")[0] for chart in charts] == ["Path over epochs", "Alignment by layer"]
        assert detail.locator("svg").first.locator("path").count() == 2
        near = study.tree["neighbours"].to_dataset().sel(kept=sample)["neighbour"].values
        listed = detail.locator(".neighbour")
        assert [int(text[1:]) for text in listed.locator(".id").all_inner_texts()] == near[0].tolist()
        detail.locator(".near select").select_option(index=1)
        wait_for(page, lambda: [int(text[1:]) for text in listed.locator(".id").all_inner_texts()] == near[1].tolist())
        listed.first.click()
        detail.get_by_role("heading", name=f"Sample {near[1][0]}").wait_for()
        assert focused(page)["text"] == f"Sample {near[1][0]}"


# -- threshold -----------------------------------------------------------------------------------------------------------------------


def shares(page: Any, table: int) -> dict[str, list[str]]:
    """Cells of a table of shares: above, of, share in percent."""
    rows = page.locator(".shares table").nth(table).locator("tbody tr").all_inner_texts()
    cells = [row.replace("\n", "").split("\t") for row in rows]
    return {name.strip(): [above.strip(), samples.strip(), share.strip()] for name, above, samples, share, *_ in cells}


def wanted_shares(names: Any, codes: np.ndarray, values: np.ndarray, limit: float) -> dict[str, list[str]]:
    rows = {}
    for code, name in enumerate(names):
        above, of = int((values[codes == code] > limit).sum()), int((codes == code).sum())
        share = 100 * above / of
        rows[name] = [str(above), str(of), f"{share:.{2 if 0 < share < 1 else 1}f} %"]
    return rows


def expect_limit(page: Any, scores: xr.Dataset, limit: float) -> None:
    """Wait until all numbers on the page are those of a threshold."""
    values, shown = scores[SSLMEM].values.astype(np.float32), scores["partition"].values == CANDIDATE
    limit = np.float32(limit)
    parts = wanted_shares(PARTITIONS, scores["partition"].values, values, limit)
    classes = wanted_shares(CLASSES, scores["label"].values[shown], values[shown], limit)
    try:
        wait_for(page, lambda: shares(page, 0) == parts and shares(page, 1) == classes)
    except AssertionError:
        assert (shares(page, 0), shares(page, 1)) == (parts, classes)
    wait_for_counts(page, above=int((values[shown] > limit).sum()))


def test_the_threshold_by_key_by_number_by_quantile_and_by_rate(browser: Any, url: str, scores: xr.Dataset) -> None:
    with new_page(browser) as page:
        visit(page, url)
        slider, field = page.locator(".threshold input[type=range]"), page.locator(".threshold input[type=number]")
        expect_limit(page, scores, limit_of(scores))
        slider.focus()
        before = float(slider.input_value())
        for _ in range(12):
            page.keyboard.press("ArrowLeft")
        moved = float(slider.input_value())
        assert moved < before
        expect_limit(page, scores, moved)
        field.fill("0.05")
        field.press("Enter")
        expect_limit(page, scores, 0.05)
        assert float(slider.input_value()) == pytest.approx(0.05, abs=0.01)
        page.get_by_label("quantile of the candidates").check()
        unit = page.locator(".threshold label[for=slider]")
        unit.filter(has_text="quantile").wait_for()
        field.fill("0.35")
        field.press("Enter")
        expect_limit(page, scores, limit_of(scores, 0.35))
        page.get_by_label("false-discovery rate").check()
        unit.filter(has_text="false-discovery").wait_for()
        field.fill("0.1")
        field.press("Enter")
        found = (scores["q_value"].values <= 0.1) & (scores["partition"].values == CANDIDATE)
        expect_limit(page, scores, scores[SSLMEM].values[found].min() - 1e-7)
        wait_for(page, lambda: "threshold_by=fdr" in page.url)


def test_a_late_answer_does_not_replace_a_number_that_is_being_typed(browser: Any, url: str, scores: xr.Dataset) -> None:
    with new_page(browser) as page:
        visit(page, url)
        field = page.locator(".threshold input[type=number]")
        expect_limit(page, scores, limit_of(scores))
        slider = page.locator(".threshold input[type=range]")
        moved = slider.evaluate(
            """slider => {
                const field = slider.parentElement.querySelector("input[type=number]");
                slider.stepDown(12);
                slider.dispatchEvent(new Event("input"));
                field.focus();
                field.value = "0.0";
                field.dispatchEvent(new Event("input"));
                return slider.valueAsNumber;
            }"""
        )
        expect_limit(page, scores, moved)
        assert field.input_value() == "0.0"
        field.press_sequentially("5")
        field.press("Enter")
        expect_limit(page, scores, 0.05)


# -- filters and comparison ------------------------------------------------------------------------------------------------------------


def test_filters_change_the_counts(browser: Any, url: str, folder: Path, scores: xr.Dataset) -> None:
    codes, labels = scores["partition"].values, scores["label"].values
    with new_page(browser) as page:
        visit(page, url)
        filters = page.locator(".sm-filters")
        assert filters.get_by_text("Methods").is_hidden()
        filters.get_by_label("shared (seen by f and g)").check()
        wait_for_counts(page, shown=int(np.isin(codes, [0, 1]).sum()), of=len(codes))
        filters.get_by_label("candidate (seen by f only)").uncheck()
        filters.get_by_label("shared (seen by f and g)").uncheck()
        wait_for_counts(page, shown=len(codes))
        filters.get_by_label("two", exact=True).check()
        above = (scores[SSLMEM].values > limit_of(scores)) & (labels == 2)
        wait_for_counts(page, shown=int((labels == 2).sum()), above=int(above.sum()))
        filters.get_by_label("Protocol").select_option("paper")
        paper = open_study(folder / "digits").scores("paper")
        wait_for_counts(page, limit=float(f"{limit_of(paper):.4g}"))
        filters.get_by_label("1", exact=True).check()
        one = open_study(folder / "digits").scores("paper", encoders=["f-1", "g-1"])
        wait_for_counts(page, limit=float(f"{limit_of(one):.4g}"))
        page.locator(".gallery .item .interval").first.get_by_text("–", exact=True).wait_for()  # noqa: RUF001


def test_two_encoders_and_two_studies_beside_each_other(browser: Any, url: str, folder: Path, scores: xr.Dataset) -> None:
    shown = candidates(scores)["sample"].values
    with new_page(browser) as page:
        visit(page, url)
        page.get_by_text("Compare", exact=True).click()
        left, right = page.locator(".menus select").nth(0), page.locator(".menus select").nth(1)
        alignment = open_study(folder / "digits").results["alignment"].sel(sample=shown).mean("augmentation")
        left.select_option("study=digits&encoder=f-0")
        wait_for(page, lambda: "f-0" in page.url)
        right.select_option("study=digits&encoder=g-1")
        expect_tau(page, *(alignment.sel(encoder=name).values for name in ("f-0", "g-1")))
        other = open_study(folder / "less").scores()
        both = np.intersect1d(shown, other["sample"].values)
        left.select_option("study=digits")
        wait_for(page, lambda: parse_qs(urlsplit(page.url).query)["left"] == ["study=digits"])
        right.select_option("study=less")
        expect_tau(page, *(each.sel(sample=both)[SSLMEM].values for each in (scores, other)))
        page.get_by_text(f"Rank agreement, n = {len(both)}").wait_for()


def expect_tau(page: Any, left: np.ndarray, right: np.ndarray) -> None:
    row = page.get_by_role("row", name="Kendall's tau-b")
    wanted = f"{stats.kendalltau(left, right).statistic:.3f}"
    wait_for(page, lambda: row.count() and row.locator("td").first.inner_text() == wanted)


# -- take away -------------------------------------------------------------------------------------------------------------------------


def download(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"{name}: download", exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    page.locator(".takeaway .status").filter(has_text="Saved").wait_for()
    return path


def test_what_is_taken_away_is_what_was_selected(browser: Any, url: str, scores: xr.Dataset, tmp_path: Path) -> None:
    ids = candidates(scores)["sample"].values[::3]
    wanted = scores.sel(sample=ids)[SSLMEM].values
    with new_page(browser) as page:
        visit(page, address(url, ids=pack_ids(ids), tab="take away"))
        page.get_by_text(f"The {len(ids)} selected samples.").wait_for()
        for name, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
            table = read(download(page, f"Samples, {name}", tmp_path))
            assert table["sample"].tolist() == ids.tolist()
            assert table[SSLMEM].values == pytest.approx(wanted, abs=1e-6)
        split = download(page, "Samples, Split (npz)", tmp_path)
        with np.load(split) as arrays:
            assert arrays["sample"].tolist() == ids.tolist()
        left = load_samples(load_spec("digits", remove=split))
        assert (left.codes[np.isin(left.dataset.ids, ids)] == UNUSED).all()
        for figure in ("Scatter", "Distributions", "Share above the threshold"):
            assert ElementTree.parse(download(page, f"{figure}, SVG", tmp_path)).getroot().tag.endswith("svg")
            with Image.open(download(page, f"{figure}, PNG", tmp_path)) as image:
                assert min(image.size) > 200
                assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_a_link_restores_the_view_after_a_restart_and_in_a_grown_study(browser: Any, tmp_path: Path) -> None:
    small, port = make_study(tmp_path / "mine", samples=120, seeds=2), free_port()
    scores = small.scores()
    ids = scores["sample"].values[::7]
    with running_app(small.path, port=port) as url, new_page(browser) as page:
        visit(page, address(url, ids=pack_ids(ids)))
        filters = page.locator(".sm-filters")
        filters.get_by_label("shared (seen by f and g)").check()
        filters.get_by_label("one", exact=True).check()
        filters.get_by_label("y axis").select_option(label="standard error")
        page.locator(".threshold input[type=number]").fill("0.02")
        page.locator(".threshold input[type=number]").press("Enter")
        page.locator(".gallery .item").first.click()
        page.locator(".detail h3").wait_for()
        opened = page.locator(".detail h3").inner_text()
        wait_for(page, lambda: "sample=" in page.url and "threshold=0.02" in page.url)
        told, link = status(page), page.url
        page.get_by_text("Take away", exact=True).click()
        wait_for(page, lambda: "take+away" in page.locator(".takeaway input").input_value())
        assert urlsplit(page.locator(".takeaway input").input_value()).path == "/"
        fields = parse_qs(urlsplit(page.locator(".takeaway input").input_value()).query)
        assert {name: value for name, value in fields.items() if name != "tab"} == parse_qs(urlsplit(link).query)
        with new_page(browser) as fresh:
            visit(fresh, link)
            assert same_view(fresh, told, opened)
    with running_app(small.path, port=port), new_page(browser) as page:
        visit(page, link)
        assert same_view(page, told, opened)
    shutil.rmtree(small.path)
    grown = make_study(small.path, samples=240, seeds=3)
    known = np.isin(ids, grown.scores()["sample"].values)
    with running_app(grown.path, port=port), new_page(browser) as page:
        visit(page, link)
        now = counts(page)
        assert (now["limit"], now["selected"]) == (0.02, known.sum())
        assert page.locator("p.note[role=status]").count() == (0 if known.all() else 1)
        assert page.locator(".sm-filters").get_by_label("one", exact=True).is_checked()


def same_view(page: Any, told: str, opened: str) -> bool:
    page.locator(".detail h3").filter(has_text=opened).wait_for()
    assert page.locator(".sm-filters").get_by_label("y axis").locator("option:checked").inner_text() == "standard error"
    assert page.locator(".threshold input[type=number]").input_value() == "0.02"
    return status(page) == told


@pytest.mark.parametrize(
    "query",
    ["x=%ZZ&sample=abc", "threshold=nan", "ids=!!!", "v=9", "study=gone", f"left={'a' * 16_050}"],
    ids=lambda text: text[:12],
)
def test_a_link_that_cannot_be_read_is_told(browser: Any, url: str, scores: xr.Dataset, query: str) -> None:
    with new_page(browser) as page:
        visit(page, f"{url}?{query}")
        assert page.locator("p.note[role=status]").inner_text()
        assert counts(page)["shown"] == candidates(scores).sizes["sample"]


def test_back_and_forward_in_history(browser: Any, url: str) -> None:
    with new_page(browser) as page:
        visit(page, url)
        first = status(page)
        seen = [(first, page.url)]
        for name in ("shared (seen by f and g)", "extra (seen by neither)"):
            page.get_by_label(name).check()
            wait_for(page, lambda: (status(page), page.url) != seen[-1] and page.url != seen[-1][1])
            seen.append((status(page), page.url))
        for go, wanted in (("back", 1), ("back", 0), ("forward", 1), ("forward", 2)):
            getattr(page, f"go_{go}")()
            wait_for(page, lambda wanted=wanted: (status(page), page.url) == seen[wanted])


# -- keyboard, looks, and what there is not ---------------------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard_in_order_with_a_visible_focus(browser: Any, url: str, scores: xr.Dataset) -> None:
    sample = int(candidates(scores).sortby(SSLMEM)["sample"].values[-1])
    with new_page(browser) as page:
        visit(page, url)
        stage_is_ready(page)
        parts, invisible = [], []
        for _ in range(120):
            page.keyboard.press("Tab")
            at = focused(page)
            if at["tag"] == "body":
                break
            if at["part"] and at["part"] not in parts:
                parts.append(at["part"])
            if at["outline"] < 1 and at["shadow"] == "none":
                invisible.append((at["part"], at["tag"], at["text"][:40]))
        assert parts == ["sm-filters", "stage", "gallery", "threshold", "shares"]
        assert invisible == []
        item = page.locator(f".gallery .item[data-sample='{sample}']")
        item.focus()
        page.keyboard.press("Enter")
        wait_for(page, lambda: focused(page)["text"] == f"Sample {sample}")
        page.keyboard.press("Escape")
        wait_for(page, lambda: focused(page)["text"].startswith(f"sample {sample},"))
        assert page.locator(".detail h3").is_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (1280, "dark"), (390, "light")])
def test_all_text_is_readable_and_nothing_is_cut(browser: Any, url: str, scores: xr.Dataset, width: int, scheme: str) -> None:
    sample = int(candidates(scores).sortby(SSLMEM)["sample"].values[-1])
    with new_page(browser, width=width, scheme=scheme) as page:
        for tab, there in (("explore", ".neighbour"), ("compare", ".sides button"), ("take away", ".takeaway input")):
            visit(page, address(url, sample=sample, tab=tab))
            page.locator(there).first.wait_for()
            assert ("theme=dark" in page.url) == (scheme == "dark")
            seen = texts(page)
            assert len(seen) > 10
            assert [text for text in seen if text["contrast"] < 4.5] == []
            assert [text for text in seen if text["size"] < 11] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = picture(page)[-5:, -5:].mean()
        assert paper < 60 if scheme == "dark" else paper > 240


@pytest.mark.parametrize("tab", ["explore", "compare", "take away"])
def test_what_is_not_there_yet_says_what_to_do(browser: Any, url: str, tab: str) -> None:
    with new_page(browser) as page:
        for name, told in (("begun", "Scores need an encoder of f and one of g"), ("planned", "This study has no results yet")):
            visit(page, address(url, study=name, tab=tab))
            note = page.locator("p.note[role=status]").inner_text()
            assert note.startswith(told)
            assert "sslmem run" in note
            assert status(page) == "nothing to show yet"
        if tab == "explore":
            page.locator(".sm-filters").get_by_label("Study").select_option("digits")
            wait_for(page, lambda: status(page).startswith("digits:"))
            page.locator("p.note[role=status]").wait_for(state="hidden")
            stage_is_ready(page)
        assert page.locator("text=NaN").count() == 0


def test_nothing_selected_and_nothing_shown_say_what_to_do(browser: Any, url: str, scores: xr.Dataset) -> None:
    with new_page(browser) as page:
        visit(page, address(url, threshold=9))
        summary = page.locator(".gallery .summary")
        assert "draw a box or a lasso" in summary.inner_text()
        page.get_by_text("No sample is open: choose one in the gallery").wait_for()
        visit(page, address(url, ids=pack_ids(scores["sample"].values[:3])))
        wait_for_counts(page, selected=3)
        stage_is_ready(page)
        box = page.locator(".stage[role=application]").bounding_box()
        drag(page, [(box["x"] + 90, box["y"] + 60), (box["x"] + 100, box["y"] + 70)])
        wait_for_counts(page, selected=0)
        assert "draw a box or a lasso" in summary.inner_text()


def test_markup_in_a_class_name_is_text_everywhere(browser: Any, url: str, folder: Path, tmp_path: Path) -> None:
    scores = open_study(folder / "tricky").scores()
    own = candidates(scores).isel(sample=np.flatnonzero(candidates(scores)["label"].values == 0))
    ids = own["sample"].values
    with new_page(browser) as page:
        visit(page, address(url, study="tricky", ids=pack_ids(ids), sample=int(ids[0])))
        stage_is_ready(page)
        for where in (".sm-filters", ".gallery .class", ".detail dd", ".shares .class"):
            page.locator(where).get_by_text(TRICK).first.wait_for()
        x, y = places(page, points_of(own)[:1])[0]
        page.mouse.move(x + 30, y)
        page.mouse.move(x, y, steps=4)
        page.locator(".stage .card").get_by_text("class").wait_for()
        page.locator(".shares .class").get_by_text(TRICK).click()
        wait_for_counts(page, shown=len(ids))
        page.get_by_text("Compare", exact=True).click()
        page.locator(".sides").get_by_text(TRICK).first.wait_for()
        page.get_by_text("Take away", exact=True).click()
        table = pd.read_csv(download(page, "Samples, CSV", tmp_path))
        assert set(table["class"]) == {TRICK}
        assert page.evaluate("window.tricked") is None
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
