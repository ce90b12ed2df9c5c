"""Figures: what they show equals what they were given, they render with both backends, and what is saved opens offline."""

import re
import subprocess
import sys
import warnings

import holoviews as hv
import numpy as np
import pytest
from fake_study import make_study

from sslmem_kit import statistics
from sslmem_kit.figures import fig02a, fig02b, fig02c, gallery, interactive_figures, save_figure, show, tab02
from sslmem_kit.figures.style import COLOURS
from sslmem_kit.names import PARTITIONS
from sslmem_kit.trajectory import memorization_over_training

NAMES = ("fig02a", "fig02b", "fig02c", "tab02", "gallery")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("figures") / "study", samples=300)


@pytest.fixture(scope="module")
def scores(study):
    return study.scores("corrected")


def drawn(name, study, scores):
    match name:
        case "fig02a":
            return fig02a.draw(scores)
        case "fig02b":
            return fig02b.draw(memorization_over_training(study.tree))
        case "fig02c":
            return fig02c.draw(scores, statistics.partition_summary(scores))
        case "tab02":
            return tab02.draw(statistics.partition_tests(scores))
    return gallery.draw(scores, study.tree["images/thumbnail"], count=6)


@pytest.mark.parametrize("name", NAMES)
def test_saved_files_are_whole_and_open_offline(name, study, scores, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, picture = save_figure(drawn(name, study, scores), tmp_path / "new" / "figures", name)
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", re.sub(r"<script>.*?</script>", "", text, flags=re.S))
    assert "<script src" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in page.parent.iterdir()) == [f"{name}.html", f"{name}.png"]


def test_the_scatter_shows_every_candidate_with_id_class_and_score(scores):
    points = next(iter(fig02a.draw(scores).traverse(lambda x: x, [hv.Points])))
    shown = points.dframe().set_index("sample")
    candidates = scores.where(scores["partition"] == 1, drop=True)
    assert sorted(shown.index) == candidates["sample"].values.tolist()
    assert (np.diff(shown["sslmem"]) >= 0).all()
    for row in candidates["sample"].values:
        one = scores.sel(sample=row)
        assert shown.loc[row, "sslmem"] == pytest.approx(float(one["sslmem"]))
        assert shown.loc[row, "class"] == scores["label"].attrs["class_names"][int(one["label"])]
        assert shown.loc[row, "alignment_g"] - shown.loc[row, "alignment_f"] == pytest.approx(float(one["difference"]), abs=1e-6)


def test_the_histograms_hold_every_sample_once_and_the_given_means(scores):
    summary = statistics.partition_summary(scores)
    figure = fig02c.draw(scores, summary, bins=17)
    counted = dict.fromkeys(PARTITIONS, 0)
    for bars in figure.traverse(lambda x: x, [hv.Rectangles]):
        counted[bars["partition"][0]] += int(bars["samples"].sum())
    assert counted == {name: row["n"] for name, row in summary.items()}
    means = {mark["partition"][0]: mark["mean"][0] for mark in figure.traverse(lambda x: x, [hv.Segments])}
    assert means == {name: row["mean"] for name, row in summary.items()}


def test_panels_over_training_show_the_trajectory(study):
    trajectory = memorization_over_training(study.tree)
    layout = fig02b.draw(trajectory)
    curves = {curve.vdims[0].name: curve for curve in layout.traverse(lambda x: x, [hv.Curve])}
    assert list(curves) == ["loss_every_epoch", "probe_accuracy", "mean", "top_mean"]
    for name, curve in curves.items():
        np.testing.assert_allclose(curve[name], trajectory[name])
    assert len(layout.traverse(lambda x: x, [hv.Spread])) == 4


def test_one_seed_leaves_out_bands_that_cannot_be_estimated(tmp_path):
    study = make_study(tmp_path / "one", samples=100, seeds=1)
    trajectory = memorization_over_training(study.tree)
    assert np.isnan(trajectory["top_mean_se"]).all()
    bands = {band.vdims[0].name for band in fig02b.draw(trajectory).traverse(lambda x: x, [hv.Spread])}
    assert "top_mean" not in bands
    save_figure(fig02b.draw(trajectory), tmp_path, "fig02b")
    save_figure(fig02a.draw(study.scores("paper")), tmp_path, "fig02a")


def test_the_table_gives_the_tests_as_text(scores):
    tests = statistics.partition_tests(scores)
    rows = tab02.draw(tests).dframe()
    assert rows["alternative"].tolist() == ["C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "S!=0", "E>0"]
    assert rows["t"].tolist() == [f"{test['t']:.2f}" for test in tests]
    assert rows["in words"][0] == "candidate above shared"
    assert rows["n"][0] == f"{tests[0]['n_first']} + {tests[0]['n_second']}"


@pytest.mark.parametrize(("p", "text"), [(0.0, "< 1e-300"), (1.23e-7, "1.2e-07"), (0.0312, "0.0312"), (np.nan, "not defined")])
def test_p_values_survive_underflow(p, text):
    assert tab02.p_value(p) == text


def test_the_gallery_shows_the_extremes_in_order(study, scores):
    thumbnails = study.tree["images/thumbnail"]
    figure = gallery.draw(scores, thumbnails, count=4, columns=4)
    frames = next(iter(figure.traverse(lambda x: x, [hv.Rectangles])))
    candidates = scores["sslmem"].where(scores["partition"] == 1, drop=True)
    ordered = candidates["sample"].values[np.argsort(-candidates.values)]
    assert frames["sample"].tolist() == [*ordered[:4], *ordered[::-1][:4]]
    mosaic = next(iter(figure.traverse(lambda x: x, [hv.RGB])))
    red = mosaic.dimension_values(2, flat=False)[::-1]
    unit = red.shape[1] / mosaic.bounds.lbrt()[2]
    middles = (np.arange(8) + 0.5) / 8
    ids = study.results["sample"].values.tolist()
    for sample, left, top in zip(frames["sample"], frames["left"], frames["top"], strict=True):
        rows, columns = ((unit * (middles + start)).astype(int) for start in (-top, left))
        np.testing.assert_array_equal(red[np.ix_(rows, columns)], thumbnails.values[ids.index(sample), ..., 0])


@pytest.mark.parametrize("count", [1, 1000])
def test_the_gallery_takes_what_there_is(study, scores, count, tmp_path):
    figure = gallery.draw(scores, study.tree["images/thumbnail"], count=count)
    shown = next(iter(figure.traverse(lambda x: x, [hv.Rectangles])))["sample"]
    assert len(shown) == len(set(shown)) == 2 * min(count, int((scores["partition"] == 1).sum()) // 2)


def test_shown_output_is_a_picture_with_a_script_behind_it(scores):
    html = show(fig02a.draw(scores))._repr_html_()
    assert html.startswith('<div id="sslmem-')
    assert 'src="data:image/png;base64,' in html
    assert html.count("</script>") == 1
    assert "<script" not in show(fig02a.draw(scores), interactive=False)._repr_html_()
    library = interactive_figures()
    assert len(library._repr_html_()) < 1.5e6
    assert len(repr(library)) < 100


def test_partition_colours_are_four_and_different():
    assert set(COLOURS) == set(PARTITIONS)
    assert len(set(COLOURS.values())) == 4


def test_nothing_here_imports_torch():
    code = "import sys, sslmem_kit.figures, sslmem_kit.notebooks, sslmem_kit.trajectory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
