"""Options of Deja Vu memorization: what is refused, with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.spec.dejavu import DejaVuSpec
from sslmem_kit.spec.loading import parse_spec


def _spec(options: dict[str, Any] | str):
    return parse_spec({"name": "x", "data": {"name": "digits"}, "comparisons": [options]}, where="test")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crops": ["corner:0"]}, "above 0 and below 1"),
        ({"crops": ["corner:1"]}, "shows 1 of the side; allowed are corner:SHARE"),
        ({"crops": ["periphery:-0.5"]}, "above 0 and below 1"),
        ({"crops": ["corner:nan"]}, "above 0 and below 1"),
        ({"crops": ["corner"]}, "is no crop; allowed are corner:SHARE"),
        ({"crops": ["corners:0.5"]}, "did you mean 'corner'"),
        ({"crops": ["corner:half"]}, "no number after the colon"),
        ({"crops": ["corner:0.3", "corner:0.30"]}, "listed twice"),
        ({"crops": ["background"]}, "give boxes, or show periphery:0.7 in its place"),
        ({"crops": []}, "crops"),
        ({"neighbours": [0]}, "neighbours"),
        ({"neighbours": [5, 5]}, "neighbours: 5 is listed twice"),
        ({"public": {"name": "imagenet"}}, "imagenet"),
        ({"neighbors": [5]}, "neighbors"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        _spec({"name": "dejavu", **options})
    assert "\n" not in str(raised.value)


def test_a_name_alone_takes_the_defaults() -> None:
    assert _spec("dejavu").comparisons == (DejaVuSpec(),)
    assert DejaVuSpec().crops[0] == "corner:0.3"
    assert DejaVuSpec(crops=("corner:0.30",)).crops == ("corner:0.3",)


def test_paths_are_seen_from_the_spec(tmp_path: Path) -> None:
    options = {"name": "dejavu", "crops": ["background:0.2"], "boxes": "b.csv", "public": {"name": "npz:p.npz"}}
    found = _spec(options).resolved(tmp_path).comparisons[0]
    assert (found.boxes, found.public.name) == (str(tmp_path / "b.csv"), f"npz:{tmp_path / 'p.npz'}")
