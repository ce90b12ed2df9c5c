"""Near-duplicates on every surface: report, text, warnings, exports, the explorer, and the look before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sslmem_kit.data.groups import sizes
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.gallery.detail import opened_twins
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report import duplicates
from sslmem_kit.report.build import build_report
from sslmem_kit.report.export import export
from sslmem_kit.report.text import as_text
from sslmem_kit.report.validate import problems
from sslmem_kit.run.duplicates import as_text as look_as_text
from sslmem_kit.run.duplicates import look, write_table
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.duplicates import twin_summary
from sslmem_kit.store import details
from sslmem_kit.study import Study
from tests.support.fake_study import make_study, plant_twins


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which candidate 1 has three twins in shared, candidate 2 one in candidates, and an extra sample one in shared."""
    made = make_study(tmp_path_factory.mktemp("twins") / "tiny", samples=240, seeds=2, views=3)
    codes = made.tree["partition"].values
    at = {name: np.flatnonzero(codes == code).tolist() for name, code in PARTITION_CODE.items()}
    one, two, three = at["candidate"][:3]
    plant_twins(made, [tuple(sorted(pair)) for pair in [*((one, other) for other in at["shared"][:3]), (two, three),
                                                         (at["extra"][0], at["shared"][5])]])  # fmt: skip
    return Study(made.path)


def test_a_report_names_candidates_whose_twins_are_in_shared(study: Study) -> None:
    report = build_report(study)
    found = report["duplicates"]
    assert (found["samples"], found["groups"], found["pairs"], found["exact"], found["kept_whole"]) == (8, 3, 5, 0, False)
    hidden = {row["partition"]: row["hidden"] for row in found["hidden"]}
    assert hidden == {"candidate": 1, "independent": 0}
    scores = study.scores()
    candidate = int(scores["sample"].values[scores["partition"].values == PARTITION_CODE["candidate"]][0])
    score = float(scores["sslmem"].sel(sample=candidate))
    assert [(row["sample"], row["own"], row["twins"]) for row in found["listed"]] == [(candidate, "candidate", {"shared": 3})]
    assert found["listed"][0]["sslmem"] == pytest.approx(score)
    text = as_text(report)
    assert f"candidate {candidate}: score {score:+.4f}, three twins in shared" in text
    assert any("near-duplicates stand on both sides of the partition (1 of" in sentence for sentence in report["warnings"])
    json.dumps(report, allow_nan=False)
    assert not [problem for problem in problems(study.path) if "duplicates" in problem]


def test_groups_of_another_kind_do_not_keep_twins_together(study: Study) -> None:
    tree, scores = study.tree.copy(), study.scores()
    plain = tree.to_dataset()
    ids, twins = tree["sample"].values, tree["duplicates"]["twin_group"].values
    for groups, kept in ((twins, True), (ids, False), (ids // 2 * 2, False)):
        tree.dataset = plain.assign_coords(group=("sample", groups))
        text = duplicates.as_text(duplicates.as_json(twin_summary(tree, scores)))
        assert ("keep them together" in text[0], "are others, and divide some of them" in text[0]) == (kept, not kept)
        assert text[0].startswith(f"near-duplicates: 8 of the {len(ids)} samples in partitions, in 3 groups")


def test_a_look_at_groups_of_another_kind_still_warns(tmp_path: Path) -> None:
    found = look(spec_of())
    ids = found.samples.dataset.ids
    (tmp_path / "p.csv").write_text("sample,patient\n" + "\n".join(f"{id_},{id_ // 2}" for id_ in ids))
    other = look(spec_of(groups=f"csv:{tmp_path}/p.csv:patient"))
    facts, text = other.as_json(), " | ".join(look_as_text(other))
    assert not facts["kept_whole"]
    assert facts["hidden"]["candidate"]
    assert "would be hidden" in text
    assert "are others, and divide some near-duplicates" in text
    used = facts["in_partitions"]
    assert used["images"] == 410 < facts["images"]
    assert used["samples"] < facts["samples"]
    assert f"of the 410 in partitions, which a report is about, {used['samples']} in {used['groups']} groups" in text
    assert look(spec_of(groups="near_duplicates")).as_json()["kept_whole"]


def test_an_export_has_the_twins_of_each_sample(study: Study, tmp_path: Path) -> None:
    table = pd.read_csv(export(study, tmp_path / "scores.csv"))
    twins = study.tree["duplicates"]["twins"].to_series().unstack()
    for name in PARTITION_CODE:
        np.testing.assert_array_equal(table[f"twins_{name}"], twins[name])
    assert (sizes(table["twin_group"].to_numpy()) - 1 == twins.sum(axis=1).to_numpy()).all()


def test_a_study_of_an_earlier_version_says_that_nobody_looked(tmp_path: Path) -> None:
    made = make_study(tmp_path / "old", samples=120, seeds=2, views=3)
    tree = made.tree
    del tree["duplicates"]
    assert build_report(made)["duplicates"] is None
    assert "near-duplicates were not looked for" in as_text(build_report(made))


def test_impossible_pairs_are_named(study: Study, tmp_path: Path) -> None:
    made = make_study(tmp_path / "bad", samples=120, seeds=2, views=3)
    plant_twins(made, [(5, 3)])
    assert any("first and second are no pairs of samples" in problem for problem in details.problems(Study(made.path).tree))


def spec_of(**data: object) -> object:
    return parse_spec(
        {
            "name": "look",
            "data": {"name": "digits_twins", **data},
            "partition": {"shared": 160, "candidate": 100, "independent": 100, "extra": 50},
            "training": {"batch_size": 16},
        },
        where="test",
    )


def test_a_look_before_training_counts_what_would_be_hidden_and_its_table_is_read_back(tmp_path: Path) -> None:
    found = look(spec_of())
    facts = found.as_json()
    assert facts["hidden"]["candidate"] > 50
    assert not facts["kept_whole"]
    assert any("near_duplicates keeps twins together" in line for line in look_as_text(found))
    write_table(found, tmp_path / "twins.csv")
    kept = load_samples(spec_of(groups=f"csv:{tmp_path}/twins.csv:group"))
    np.testing.assert_array_equal(kept.dataset.groups, found.twins.group)
    again = look(spec_of(groups="near_duplicates"))
    assert again.as_json()["hidden"] == {"candidate": 0, "independent": 0}
    with pytest.raises(UserError, match="already there"):
        write_table(found, tmp_path / "twins.csv")


def test_the_explorer_names_the_twins_of_a_sample(study: Study) -> None:
    opened = Library([study.path]).open(study.path.name)
    first = int(np.flatnonzero(opened.partitions == PARTITION_CODE["candidate"])[0])
    assert opened_twins(opened, first) == ({"shared": 3}, True)
    alone = int(np.flatnonzero(opened.partitions == PARTITION_CODE["independent"])[0])
    assert opened_twins(opened, alone) == ({"shared": 0}, False)
    assert "duplicates/twins@partition=shared" in opened.quantities
