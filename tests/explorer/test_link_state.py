"""Links: they carry the whole state, and a broken one never breaks the page."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.explorer.link_state import LONGEST_IDS, LONGEST_QUERY, State, from_query, pack_ids, to_query, unpack_ids

number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    st.builds(
        State,
        study=text,
        protocol=text,
        seed=st.lists(st.integers(0, 2**31)).map(tuple),
        classes=st.lists(text, max_size=5).map(tuple),
        threshold=st.none() | number,
        threshold_by=st.sampled_from(["value", "quantile", "fdr"]),
        outline=st.lists(st.tuples(number, number), max_size=8).map(tuple),
        ascending=st.booleans(),
        sample=st.none() | st.integers(-(2**40), 2**40),
        ids=st.lists(st.integers(0, 2**40), max_size=30).map(pack_ids),
    )
)
def test_a_link_carries_the_whole_state(state: State) -> None:
    assert from_query("?" + to_query(state)) == (state, "")


def test_defaults_are_left_out() -> None:
    assert to_query(State()) == "v=1"
    assert from_query("") == (State(), "")


@pytest.mark.parametrize(
    "query",
    [
        "threshold=nan",
        "threshold=1e999",
        "threshold=abc",
        "seed=[[[[",
        "seed=7",
        "classes=%5B1%5D",
        "outline=[[1,2,3]]",
        "threshold_by=magic",
        "ids=" + "A" * (LONGEST_IDS + 1),
        "outline=" + "[" * 5000,
        "&&&",
        "a" * (LONGEST_QUERY + 1),
        "v=2",
        "v=x",
    ],
)
def test_a_broken_link_is_the_default_view_with_a_note(query: str) -> None:
    state, note = from_query(query)
    assert state == State()
    assert "default view" in note
    assert len(note) < 200


def test_what_others_add_to_a_link_is_left_alone() -> None:
    assert from_query("utm_source=mail&protocol=paper&theme=dark") == (State(protocol="paper"), "")


@given(st.lists(st.integers(0, 2**40), max_size=300))
def test_ids_are_packed_and_unpacked(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(np.array(ids, np.int64))).tolist() == sorted(set(ids))


def test_too_many_ids_are_not_packed() -> None:
    scattered = np.random.default_rng(0).choice(10**9, 50_000, replace=False)
    assert pack_ids(scattered) == ""


@pytest.mark.parametrize("damaged", ["!!!", "AAAA", pack_ids(np.arange(50))[:-6]])
def test_damaged_ids_are_refused(damaged: str) -> None:
    with pytest.raises(ValueError, match="ids"):
        unpack_ids(damaged)


def test_ids_that_unpack_to_gigabytes_are_refused() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(bytes(50_000_000), 9)).decode()
    with pytest.raises(ValueError, match="too many"):
        unpack_ids(bomb)
