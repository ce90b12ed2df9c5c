"""Lists of training samples, and what follows from them for families, partitions and modes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.data.membership import membership
from sslmem_kit.data.partition import trained_on
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITIONS


def columns(*rows: str) -> np.ndarray:
    """(sample, encoder) of a text of x and . for each encoder."""
    return np.array([[mark == "x" for mark in row] for row in rows]).T


def names(codes: np.ndarray) -> list[str]:
    return [PARTITIONS[code] for code in codes]


def test_two_sets_are_f_and_g() -> None:
    told = membership(["a", "b", "c"], columns("xx..", "x.x.", "xx.."), [None] * 3)
    assert (told.families, told.designs, told.mode) == (("f", "g", "f"), ("pair",) * 3, "pair")
    assert names(told.codes) == ["shared", "candidate", "independent", "extra"]


def test_families_may_be_said() -> None:
    told = membership(["a", "b"], columns("xx..", "x.x."), ["g", "f"])
    assert names(told.codes) == ["shared", "independent", "candidate", "extra"]
    with pytest.raises(UserError, match=r"a and b are of family 'f' but were trained on different samples \(2 differ\)"):
        membership(["a", "b"], columns("xx..", "x.x."), ["f", "f"])


def test_more_sets_are_numbered_subsets() -> None:
    told = membership(["a", "b", "c"], columns("xxx..", "xx.x.", "x..xx"), [None] * 3)
    assert (told.families, told.designs, told.mode) == (("0", "1", "2"), ("subset",) * 3, "subset")
    assert names(told.codes) == ["shared", "candidate", "candidate", "candidate", "candidate"]


@pytest.mark.parametrize(
    ("seen", "families", "expected"),
    [
        (columns("xx.."), [None], ("f",)),
        (columns("xx..", "xx.."), [None, None], ("f", "f")),
        (columns("xx..", "xx.."), ["f", "g"], ("f", "g")),
        (columns("....", "...."), [None, None], ("f", "f")),
        (None, [None, None], ("0", "0")),
        (None, ["f", "g"], ("f", "g")),
    ],
)
def test_without_a_sample_on_both_sides_it_is_one_model(seen, families, expected) -> None:
    told = membership(["a", "b"], seen, families)
    assert (told.mode, told.families) == ("one model", expected)
    assert (told.codes is None) == (seen is None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_codes_of_a_pair_say_who_saw_what(rows: list[tuple[bool, bool]]) -> None:
    seen = np.array(rows)
    told = membership(["f", "g"], seen, ["f", "g"])
    assert (trained_on(told.codes, ["f", "g"]) == seen).all()
