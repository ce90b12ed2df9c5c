"""Audits of the encoders of a study: by coin alone, of units that share a coin, and never by other encoders of the same coins."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sslmem_kit.data.partition import by_coin
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report.comparisons.privacy import as_text
from sslmem_kit.scores import _example
from sslmem_kit.scores.comparisons.privacy import PRIVACY, reduce
from sslmem_kit.statistics.privacy import audit_encoders
from tests.support.ensembles import ensembles


def coined(random, *, effect=0.0, delta=None, groups=None, **options):
    """Results of a study whose candidates went by coin; ``groups`` is the size of those that share one."""
    results = ensembles(random, effect=0.0, **options)
    codes, samples = results["partition"].values, results.sizes["sample"]
    order = np.argsort(codes % 3 == 0, kind="stable")  # the pool first, so that groups are of it
    first = None
    if groups:
        first = np.empty(samples, int)
        first[order] = order[np.arange(samples) // groups * groups]
    codes = by_coin(codes, seed=int(random.integers(2**31)), groups=first)
    own = np.where(results["family"].values == "f", PARTITION_CODE["candidate"], PARTITION_CODE["independent"])
    pair = results["design"].values == "pair"
    inside = np.where(pair, (codes[:, None] == own) | (codes == 0)[:, None], results["trained_on"].values)
    results = results.assign(
        alignment=results["alignment"] - effect * inside[:, None],
        trained_on=(("sample", "encoder"), inside),
    ).assign_coords(partition=("sample", codes, results["partition"].attrs))
    if groups:
        results = results.assign_coords(group=("sample", first))
    privacy = {"epsilon": 8, "delta": delta} if delta else None
    return results.assign_attrs(spec=json.dumps({"partition": {"coin": True}, "training": {"privacy": privacy}}))


@pytest.mark.parametrize("subsets", [0, 4])
def test_epsilon_is_0_of_null_pairs_in_95_percent(subsets):
    random, zero = np.random.default_rng(subsets), []
    for _ in range(70):
        found = audit_encoders(coined(random, each=60, pairs=1, subsets=subsets))
        assert found.attrs["signal"] == ("lira_offline" if subsets else "alignment")
        zero.append((found["epsilon"].values == 0).all(axis=found["epsilon"].dims.index("by")))
    assert np.mean(zero) >= 0.95


def test_a_lookup_is_shown_to_leak():
    found = audit_encoders(coined(np.random.default_rng(1), each=200, pairs=2, subsets=0, effect=100.0))
    assert found.sizes["encoder"] == 4
    assert (found["epsilon"].sel(by="f_dp") > 3.7).all()
    assert (found["coins"] == 400).all()
    assert found["heads"].values[0] + found["heads"].values[1] == 400  # of f, and of g


def test_delta_is_that_of_the_training():
    random = np.random.default_rng(2)
    assert audit_encoders(coined(random, subsets=0))["delta"].values[0] == 1e-5
    assert audit_encoders(coined(random, subsets=0, delta=1e-4))["delta"].values[0] == 1e-4
    assert audit_encoders(coined(random, subsets=0, delta=1e-4), delta=1e-3)["delta"].values[0] == 1e-3


def test_a_group_is_one_coin():
    found = audit_encoders(coined(np.random.default_rng(3), each=120, subsets=0, groups=3, effect=100.0))
    assert (found.attrs["unit"], found.attrs["largest"]) == ("group", 3)
    assert (found["coins"] == 80).all()
    assert (found["epsilon"].sel(by="steinke") > 2).all()


def test_other_encoders_of_pairs_do_not_matter():
    """g holds the answer for f: what it says must not reach f's audit."""
    results = coined(np.random.default_rng(4), pairs=2, subsets=3)
    before = audit_encoders(results)
    changed = results.copy(deep=True)
    changed["alignment"].values[:, :, 1:4] *= 0.5
    after = audit_encoders(changed)
    np.testing.assert_array_equal(before.isel(encoder=0)["epsilon"], after.isel(encoder=0)["epsilon"])


def test_a_split_of_fixed_size_is_refused_with_the_remedy():
    with pytest.raises(UserError, match=r"no independent coins.*partition: \{coin: true\}"):
        audit_encoders(_example.results())
    assert "coin: true" in PRIVACY.problem(_example.tree())
    assert not reduce(None, _example.tree()).data_vars


def test_a_refuted_claim_is_said_first():
    row = {"encoder": "f-0", "claimed": 1.0, "shown": 2.0, "steinke": 2.0, "f_dp": 2.0, "gaussian": 3.0, "guesses": 10, "right": 9}
    facts = {"confidence": 0.95, "delta": 1e-5, "signal": "alignment", "unit": "sample", "largest": 1, "chosen": "f_dp"}
    lines = as_text({**facts, "encoders": [{**row, "coins": 300, "accuracy": 0.6}]})
    assert "the claims of f-0 are refuted" in lines[0]
    lines = as_text({**facts, "unit": "group", "largest": 4, "encoders": [{**row, "coins": 300, "accuracy": 0.6}]})
    assert "refuted" in lines[0]
    assert "of a group" in lines[-1]
