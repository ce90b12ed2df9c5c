"""Agreement and planted samples of a study: from its store to words and figures."""

import warnings

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from sslmem_kit import open_study, statistics
from sslmem_kit.errors import UserError
from sslmem_kit.figures import agreement as figure
from sslmem_kit.figures.save import save_figure
from sslmem_kit.names import PLANTED, PLANTED_OF
from sslmem_kit.report import agreement_as_text, build_report
from sslmem_kit.report.comparisons import agreement, as_text
from sslmem_kit.scores.comparisons.base import summarized
from sslmem_kit.statistics.effect import by_seed
from sslmem_kit.store.comparisons import write_comparison
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with a score that is SSLMem with more noise, and one that is noise alone, of the same trainings."""
    study = make_study(tmp_path_factory.mktemp("agreement") / "study", samples=900)
    own = by_seed(study.scores())
    rng = np.random.default_rng(0)
    noise = float(own.std()) * rng.normal(size=(2, *own.shape))
    columns = {"louder": own.values + noise[0], "nothing": noise[1]}
    replicates = xr.Dataset({name: (own.dims, values) for name, values in columns.items()}, {"seed": own["seed"].values})
    write_comparison(study.results_path, "typicality", summarized(replicates).assign_attrs(title="made up"))
    return open_study(study.path)


def test_the_report_says_who_agrees(study):
    report = build_report(study, with_comparisons=True)
    found = report["agreement"]
    assert [row["score"] for row in found["scores"]] == ["sslmem", "louder", "nothing"]
    verdicts = {(row["first"], row["second"]): row["verdict"] for row in found["pairs"]}
    assert verdicts[("sslmem", "louder")] == "agree"
    pair = found["pairs"][0]
    scores = study.scores()
    candidates = scores.isel(sample=np.flatnonzero(scores["partition"].values == 1))
    expected = statistics.rank_agreement(candidates["difference"].values, candidates["louder"].values)
    assert pair["tau"] == pytest.approx(expected["value"].sel(statistic="tau").item())
    assert pair["n"] == candidates.sizes["sample"]
    assert pair["shared_seeds"] == 3
    assert pair["p_holm"] >= pair["p"]
    text = "\n".join(as_text(report))
    assert "agreement of 3 scores over candidates: " in text
    assert "(sslmem with louder)" in text
    assert "planted" not in report


def test_text_survives_what_is_not_known():
    rng = np.random.default_rng(0)
    coords = {"sample": np.arange(30)}
    single = {name: xr.DataArray(rng.normal(size=30), coords, ("sample",)) for name in "ab"}
    lines = agreement_as_text(single | {"flat": xr.DataArray(np.zeros(30), coords, ("sample",))})
    assert "undecided" in lines[0]
    assert any("a: reliability unknown, 30 samples, 1 seed" in line for line in lines)


@pytest.mark.parametrize("name", ["matrix", "overlap", "galleries"])
def test_figures_are_saved_in_both_backends(name, study, tmp_path):
    replicates = statistics.study_replicates(study.scores(), study.tree)
    means = statistics.mean_scores(replicates)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match name:
            case "matrix":
                drawn = figure.matrix(statistics.score_agreement(replicates))
            case "overlap":
                drawn = figure.overlap(statistics.score_overlap(means), score="sslmem")
            case _:
                drawn = figure.galleries(means, study.results, study.tree["images/thumbnail"])
        page, picture = save_figure(drawn, tmp_path, name)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "<script src" not in page.read_text()


def test_the_matrix_shows_tau_above_and_the_corrected_one_below(study):
    found = statistics.score_agreement(statistics.study_replicates(study.scores(), study.tree))
    texts = {
        (row.x, row.y): row.text
        for labels in figure.matrix(found).traverse(lambda x: x, [hv.Labels])
        for row in labels.dframe().itertuples()
    }
    assert texts[(1, 0)].startswith(f"{found['tau'].values[0, 1]:+.2f}")
    assert texts[(0, 0)].startswith("reliability")
    below = found["corrected_tau"].values[1, 0]
    assert texts[(0, 1)].startswith(f"{below:+.2f}" if np.isfinite(below) else "not known")


def test_galleries_show_the_highest_of_each_score_in_order(study):
    means = statistics.mean_scores(statistics.study_replicates(study.scores(), study.tree))
    _, captions, _, frames = figure.galleries(means, study.results, study.tree["images/thumbnail"], count=5)
    ids = frames.dframe()["sample"].tolist()
    expected = [int(array["sample"][place]) for array in means.values() for place in np.argsort(-array.values)[:5]]
    assert ids == expected
    assert len(captions) == 15


def test_planted_kinds_are_in_the_report(study):
    rng = np.random.default_rng(1)
    n = study.results.sizes["sample"]
    study.tree.coords[PLANTED] = ("sample", rng.choice([0, 4], n, p=[0.7, 0.3]))
    study.tree.coords[PLANTED_OF] = ("sample", np.full(n, -1))
    report = build_report(study, with_comparisons=True)
    rows = report["planted"]["rows"]
    assert {(row["score"], row["kind"]) for row in rows} == {(name, "noisy") for name in ("sslmem", "louder", "nothing")}
    text = "\n".join(as_text(report))
    assert "planted samples among candidates: " in text


def test_one_score_agrees_with_nobody(tmp_path):
    alone = make_study(tmp_path / "alone", samples=120)
    assert agreement.as_text(agreement.as_json(alone)) == [
        "agreement: there is one score, sslmem; `sslmem compare` measures others"
    ]
    with pytest.raises(UserError, match="has no comparisons"):
        build_report(alone, with_comparisons=True)


def test_studies_of_the_same_samples_are_compared(tmp_path):
    one, two = (make_study(tmp_path / name, samples=300) for name in ("simclr", "dino"))
    for study in (one, two):
        study.tree.attrs["data_fingerprint"] = "digits"
    found = statistics.scores_of_studies({study.path.name: (study.scores(), study.tree) for study in (one, two)})
    assert list(found) == ["simclr", "dino"]
    agreed = statistics.score_agreement(found).sel(score="simclr", other="dino")
    assert agreed["tau"].item() == 1  # the same made-up numbers
    assert agreed["shared_seeds"].item() == 0
