"""The section of membership in a report: a verdict first, what is missing last, and nothing that is not known."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sslmem_kit.report.comparisons.membership import as_json, as_text
from sslmem_kit.report.tables import without_nan
from tests.support.ensembles import ensembles


def section(**options):
    random = np.random.default_rng(options.pop("seed", 0))
    return without_nan(as_json(SimpleNamespace(results=ensembles(random, **options))))


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.0, "members are not found"), (2.0, "members are found"), (-2.0, "members look like")]
)
@pytest.mark.parametrize("subsets", [0, 4])
def test_the_verdict_comes_first(effect, verdict, subsets):
    found = section(effect=effect, subsets=subsets)
    lines = as_text(json.loads(json.dumps(found)))
    assert lines[0].startswith(verdict)
    assert (" rmia," if subsets else " calibrated,") in lines[0]
    assert lines[-1].startswith("no likelihood ratios: design.subsets") == (not subsets)
    assert all(len(line) < 260 for line in lines)


def test_what_few_others_cannot_show_is_said():
    lines = as_text(section(each=60))
    assert any(line.startswith("TPR at 0.1 % needs") for line in lines)
    assert not any("nan" in line for line in lines)


def test_quantiles_of_one_seed_are_not_known():
    lines = as_text(section(pairs=1, subsets=0))
    assert any(line.startswith("by quantile of SSLMem: not known") for line in lines)


def test_the_memorized_are_exposed_and_the_circle_is_shown():
    effect = np.where(np.arange(4000) % 8 < 4, 0.0, 4.0)
    lines = as_text(section(each=1000, effect=effect, subsets=5))
    assert any(line.startswith("the memorized are the exposed") for line in lines)
    assert any(line.endswith("a circle") for line in lines)


def test_too_few_samples_have_no_attack():
    assert as_text(section(each=1, subsets=0)) == ["no attack is possible: there are too few members or others"]
