"""A mitigation frontier: one command, no encoder twice, the same after it was killed; arms can be added; what is wrong is refused."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import holoviews as hv
import numpy as np
import pytest

from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.errors import UserError
from sslmem_kit.events import Event, Trained
from sslmem_kit.figures import frontier as figure
from sslmem_kit.figures import save_figure
from sslmem_kit.report import frontier as report
from sslmem_kit.run.frontier import plan_frontier, run_frontier
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.frontier import FrontierSpec, parse_frontier
from sslmem_kit.spec.presets import frontier_presets
from sslmem_kit.spec.removal_tree import load_any
from sslmem_kit.statistics.effect import effects, training_means
from sslmem_kit.statistics.frontier import frontier_means, frontier_measures
from sslmem_kit.store.frontier import open_frontier
from tests.support.fake_study import workers_in_this_process
from tests.training.test_loop import RESNET

BASELINE: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits"},
    "partition": {"shared": 30, "candidate": 20, "independent": 20, "extra": 20},
    "encoder": RESNET,
    "objective": {"method": "simclr", "hidden_dim": 16, "projection_dim": 8},
    "training": {"seeds": 2, "epochs": 3, "warmup_epochs": 0, "batch_size": 25, "record_every": 0},
    "scoring": {"views": 2},
    "downstream": {"tasks": [{"name": "digits_twins"}]},
}
ARMS: list[dict[str, Any]] = [
    {"name": "drop", "training": {"mitigation": {"action": "drop", "every": 1, "share": 0.2}}},
    {"name": "lambda", "objective": {"regularizer": {"weight": 0.2}}},
]


def spec(*arms: dict[str, Any], **changes: Any) -> FrontierSpec:
    loaded = {"name": "tiny-frontier", "baseline": BASELINE, "arms": [*ARMS, *arms], **changes}
    return parse_frontier(loaded, where="test", base=Path.cwd())


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    samples_module._load.cache_clear()


class Log:
    """Epochs that were trained, by encoder; it stops the run after some."""

    def __init__(self, *stops: int) -> None:
        self.epochs: Counter[tuple[str, float]] = Counter()
        self.stops = stops

    def __call__(self, event: Event) -> None:
        if isinstance(event, Trained) and event.epochs == int(event.epochs):
            self.epochs[event.encoder, event.epochs] += 1
            if sum(self.epochs.values()) in self.stops:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    path, log = tmp_path_factory.mktemp("frontier") / "frontier", Log()
    with pytest.MonkeyPatch.context() as patch, workers_in_this_process():
        patch.setenv("OMP_NUM_THREADS", "1")
        run_frontier(spec(), path, device="cpu", on_event=log)
    return path, log


def test_every_encoder_is_trained_once_and_g_serves_all_that_treat_f(whole: tuple[Path, Log]) -> None:
    path, log = whole
    results = open_frontier(path).results
    assert set(log.epochs.values()) == {1}
    assert results["arm"].values.tolist() == ["baseline", "drop", "drop-random", "lambda"]
    assert results["kind"].values.tolist() == ["untreated", "memorized", "random", "all"]
    assert results["control"].values.tolist() == ["", "drop-random", "", ""]
    encoders = results["encoder"]
    assert len(np.unique(encoders)) == len(list(path.glob("encoders/*/weights.safetensors"))) == 2 * (2 + 1 + 1 + 2)
    for arm in ("drop", "drop-random"):
        assert (encoders.sel(arm=arm, family="g") == encoders.sel(arm="baseline", family="g")).all()
    assert results["images_trained"].values.tolist() == [[2 * 25 * 3] * 2] * 4
    assert results["images_scored"].values.tolist() == [[0, 0], [2 * 20 * 3] * 2, [0, 0], [0, 0]]


def test_controls_treat_as_many(whole: tuple[Path, Log]) -> None:
    results = open_frontier(whole[0]).results
    for seed in results["seed"].values:
        treated = {}
        for arm in ("drop", "drop-random"):
            folder = whole[0] / "encoders" / str(results["encoder"].sel(arm=arm, family="f", seed=seed).item())
            rows = np.loadtxt(folder / "treated.csv", delimiter=",", skiprows=1, dtype=int)
            assert np.isin(rows[:, 1], results["sample"].values[results["partition"] == 1]).all()
            treated[arm] = rows
        assert treated["drop"][:, 0].tolist() == treated["drop-random"][:, 0].tolist() == [1] * 4 + [2] * 4
        assert treated["drop"][:, 1].tolist() != treated["drop-random"][:, 1].tolist()


def test_the_baseline_is_what_a_study_of_its_spec_gives(whole: tuple[Path, Log], tmp_path: Path) -> None:
    with workers_in_this_process():
        study = run_study(spec().baseline, tmp_path / "study", device="cpu", threads=1)
    scores = study.scores()
    value = frontier_measures(open_frontier(whole[0]).results)["value"].sel(arm="baseline")
    by_seed = training_means(scores)
    own = (by_seed.sel(partition="candidate") - by_seed.sel(partition="independent")) / 2
    np.testing.assert_allclose(value.sel(measure="effect"), own, atol=1e-6)
    assert value.sel(measure="effect").mean().item() == pytest.approx(
        effects(scores)["value"].sel(effect="(C-I)/2").item(), abs=1e-6
    )
    accuracy = study.tree["downstream"]["accuracy"].sel(encoder=["f-0", "f-1"], task="digits", probe="linear")
    np.testing.assert_allclose(value.sel(measure="accuracy: digits"), accuracy)


def test_a_killed_one_ends_as_one_that_nobody_disturbed(whole: tuple[Path, Log], tmp_path: Path) -> None:
    log = Log(2, 9, 17, 26)
    for _ in range(4):
        with workers_in_this_process(), pytest.raises(KeyboardInterrupt):
            run_frontier(spec(), tmp_path / "f", device="cpu", on_event=log)
    with workers_in_this_process():
        run_frontier(spec(), tmp_path / "f", device="cpu", on_event=log)
    mine, theirs = open_frontier(tmp_path / "f").results, open_frontier(whole[0]).results
    assert mine.drop_vars("seconds").equals(theirs.drop_vars("seconds"))
    with workers_in_this_process():  # complete: nothing is trained
        run_frontier(spec(), tmp_path / "f", device="cpu", on_event=Log(1))


def test_arms_can_be_added_with_other_choices(whole: tuple[Path, Log], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole[0], tmp_path / "f")
    more = {
        "name": "rare",
        "training": {"epochs": 4, "mitigation": {"action": "regularize", "every": 3, "share": 0.2, "weight": 0.3}},
    }
    other = {"name": "again", "training": {"mitigation": {"action": "drop", "every": 2, "share": 0.3}}}
    log = Log()
    with workers_in_this_process():
        run_frontier(spec(more, other, controls=False), tmp_path / "f", device="cpu", on_event=log)
    trained = {name for name, _ in log.epochs}
    assert not any(name.startswith(("drop", "lambda")) for name in trained)
    assert {"rare-f-0", "rare-g-0", "again-f-0"} <= trained
    found, before = open_frontier(tmp_path / "f").results, open_frontier(whole[0]).results
    np.testing.assert_array_equal(found["alignment"].sel(arm="drop"), before["alignment"].sel(arm="drop"))
    assert "drop-random" not in found["arm"].values


def test_what_cannot_grow_stays_as_it_is(whole: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its spec was written first, and the finished table could no longer be read."""
    path = Path(shutil.copytree(whole[0], tmp_path / "copy"))
    before = (path / "frontier.yaml").read_bytes()
    monkeypatch.setattr("sslmem_kit.run.frontier._complete", Mock(side_effect=UserError("arms: short: it cannot be")))
    with pytest.raises(UserError, match="arms: short"):
        run_frontier(spec({"name": "short", "training": {"epochs": 2}}), path, device="cpu")
    assert (path / "frontier.yaml").read_bytes() == before
    assert open_frontier(path).results["arm"].size == 4


def test_a_table_that_is_not_what_was_written_is_named(
    whole: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(whole[0], tmp_path / "copy"))
    changed = open_frontier(path).results.copy(deep=True)
    changed["alignment"][0, 0, 0, 0] = 0.123
    with monkeypatch.context() as patch:
        patch.setattr("sslmem_kit.store.table.checksum", lambda _: changed.attrs["checksum"])
        open_frontier(path).write_results(changed)
    with pytest.raises(UserError, match="it is not what was written; remove it"):
        _ = open_frontier(path).results


def test_the_report_the_plan_and_the_figure(whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(whole[0])]) == 0
    text = capsys.readouterr().out
    assert "attacks of their own are not built yet" in text
    assert main(["report", str(whole[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["sentence"] in text
    assert [arm["name"] for arm in found["arms"]] == ["baseline", "drop", "drop-random", "lambda"]
    assert set(found["arms"][0]["measures"]) == {"memorization", "effect", "auc", "accuracy: digits", "accuracy: digits_twins"}
    assert all(len(part["interval"]) == 2 and part["n"] == 2 for arm in found["arms"] for part in arm["measures"].values())
    assert {(row["against"], row["arm"]) for row in found["differences"]} == {
        ("baseline", "drop"), ("baseline", "drop-random"), ("baseline", "lambda"), ("random", "drop")}  # fmt: skip
    assert main(["report", str(whole[0]), "--fdr", "0.05"]) == 2
    assert "is a mitigation frontier, which has no scores of its own" in capsys.readouterr().err
    means = frontier_means(frontier_measures(open_frontier(whole[0]).results))
    (first, *_) = figure.plot(means, "digits").traverse(lambda part: part, [hv.Segments])
    own = means.sel(arm="baseline")
    for scale, measure, ends in ((1, "memorization", (0, 2)), (100, "accuracy: digits", (1, 3))):
        drawn = np.concatenate([first.dimension_values(end) for end in ends])
        assert [drawn.min(), drawn.max()] == pytest.approx((scale * own["interval"].sel(measure=measure).values).tolist())
    for measure in ("memorization", "effect", "auc"):
        assert all(
            path.stat().st_size > 1000 for path in save_figure(figure.plot(means, "digits", measure=measure), tmp_path, measure)
        )
    with workers_in_this_process():
        planned = plan_frontier(spec(), device="cpu")
    assert planned["encoders"] == 12
    assert [row["encoders"] for row in planned["arms"]] == [4, 2, 2, 4]
    assert report.as_text(report.build(open_frontier(whole[0])))[0] == found["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"arms": []}, "at least one is needed"),
        ({"arms": [{"name": "baseline", "training": {"epochs": 2}}]}, "'baseline' is taken"),
        ({"arms": [*ARMS, ARMS[0]]}, "'drop' is taken"),
        ({"arms": [{"name": "a"}]}, "does nothing otherwise"),
        ({"arms": [{"name": "a", "training": {"seeds": 3}}]}, "training.seeds are those of the baseline"),
        ({"arms": [{"name": "a", "training": {"epoch": 3}}]}, "arms: a: training.epoch: unknown field"),
        ({"arms": [{"name": "a", "training": {"privacy": {"epsilon": 8}}}]}, "training.privacy needs a loss"),
        ({"arms": [*ARMS, {"name": "drop-random", "training": {"epochs": 2}}]}, "is the name of the control"),
        ({"baseline": {**BASELINE, "partition": {**BASELINE["partition"], "extra": 0}}}, "partition.extra is 0"),
        ({"baseline": {**BASELINE, "training": {"mitigation": {"action": "drop"}}}}, "baseline.training.mitigation is given"),
        ({"baseline": {**BASELINE, "design": {"subsets": {"folds": 2, "repeats": 2}}}}, "baseline.design is given"),
        ({"baseline": 3}, "baseline is 3"),
        ({"baseline": "nowhere"}, "there is no file 'nowhere'"),
        ({"margin": 0}, "margin"),
    ],
)
def test_what_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        parse_frontier({"name": "x", "baseline": BASELINE, "arms": ARMS, **change}, where="test", base=Path.cwd())


def test_what_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--devices: 2"):
        run_frontier(spec(), tmp_path / "f", devices=2)
    few = {"name": "few", "training": {"mitigation": {"action": "drop", "every": 1, "share": 0.01}}}
    with workers_in_this_process(), pytest.raises(UserError, match=r"arms: few: .*0\.01 of 20 candidates is none"):
        run_frontier(spec(few), tmp_path / "f", device="cpu")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "x").touch()
    with pytest.raises(UserError, match=r"holds no frontier\.yaml"):
        run_frontier(spec(), tmp_path / "g", device="cpu")


def test_private_training_is_an_arm(tmp_path: Path) -> None:
    private = {"name": "private", "training": {"privacy": {"epsilon": 50, "delta": 0.01, "clip_norm": 0.1}}}
    vit = {"backbone": "vit_tiny_patch16_224", "grid": 4, "options": {"embed_dim": 24, "depth": 1, "num_heads": 2}}
    baseline = {**BASELINE, "encoder": vit, "objective": {"method": "supervised"}, "downstream": {}}
    baseline["training"] = {**BASELINE["training"], "seeds": 1, "epochs": 2}
    with workers_in_this_process():
        run_frontier(spec(baseline=baseline, arms=[private]), tmp_path / "f", device="cpu")
    found = report.build(open_frontier(tmp_path / "f"))
    assert [arm["epsilon"] is None for arm in found["arms"]] == [True, False]
    assert 0 < found["arms"][1]["epsilon"] <= 50
    assert any("one seed" in sentence for sentence in found["warnings"])
    assert {row["decision"] for row in found["differences"]} == {"undecided"}
    assert any(line.startswith("private") and "epsilon" in line for line in report.as_text(found))


def test_presets_are_what_they_say() -> None:
    for name in frontier_presets():
        loaded = load_any(name)
        assert isinstance(loaded, FrontierSpec)
        arms = loaded.all_arms()
        assert {arm.kind for arm in arms} == {"untreated", "memorized", "random", "all"}
        rule = next(arm for arm in arms if arm.name == "rule-of-multimem").spec.training.mitigation
        assert (rule.action, rule.every, rule.share, rule.by) == ("stronger_views", 10, 0.05, "memorization")
        assert {arm.spec.scoring.policy for arm in arms} == {loaded.baseline.training.policy}
