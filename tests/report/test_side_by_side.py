"""The table of studies: each number where it belongs, and what is not known as a dash."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sslmem_kit.report.side_by_side import as_json, as_text
from tests.statistics.test_side_by_side import tree


def test_rows_and_differences_are_words_and_numbers() -> None:
    studies: Any = [SimpleNamespace(tree=tree("sup-a")), SimpleNamespace(tree=tree("b", shift=0.3))]
    found = as_json(studies)
    assert [row["study"] for row in found["studies"]] == ["sup-a", "b"]
    assert [(row["first"], row["second"]) for row in found["differences"]] == [("sup-a", "b")]
    lines = as_text(found)
    assert lines[0].startswith("SSLMem: sup-a ")
    assert lines[1].startswith("accuracy: sup-a ")
    assert lines[-2].startswith("sup-a  supervised   10 epochs  SSLMem +")
    assert lines[-1].endswith("3 seeds")


def test_one_seed_has_no_interval() -> None:
    one = tree("a")
    kept = [place for place, seed in enumerate(one["seed"].values) if seed == 0]
    single = cast(Any, one.isel(encoder=kept))
    found = as_json(cast(Any, [SimpleNamespace(tree=single), SimpleNamespace(tree=tree("b"))]))
    assert found["studies"][0]["sslmem_interval"] == [None, None]
    assert found["differences"][0]["sslmem_is"] == "undecided"
    lines = as_text(found)
    assert "(sd -) [-, -]" in lines[-2]
    assert "SSLMem: a is not decided against b" in lines[0]
