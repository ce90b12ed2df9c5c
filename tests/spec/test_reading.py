"""Files of strangers: YAML and JSON are read as they look, in bounded time, or refused in one sentence."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.spec.audit import load_audit
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.spec.reading import MOST_BYTES, read_json, read_yaml, write_yaml
from tests.support.fake_study import make_study

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join(9 * [f'*{before}'])}]\n" for before, here in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Half a kilobyte that stands for 400 million values."""
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{here}: &{here} {{<<: [{', '.join(9 * [f'*{before}'])}]}}\n" for before, here in zip("abcdefgh", "bcdefghi", strict=True)
)
"""The same by merge keys."""

REFUSED = {
    "nested anchors": (LAUGHS, ["aliases", "1,000,000"]),
    "nested merges": (MERGES, ["aliases", "1,000,000"]),
    "an alias of what it stands in": ("a: &a [*a]", ["line 1", "alias within"]),
    "a merge of what it stands in": ("a: &a {<<: *a}", ["line 1", "alias within"]),
    "an unknown alias": ("a: *b", ["line 1", "undefined alias"]),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, ["within each other"]),
    "deep lists that are not closed": ("a: " + "[" * 100_000, ["within each other"]),
    "deep mappings": ("a: " + "{a: " * 5000 + "1" + "}" * 5000, ["within each other"]),
    "deep blocks": ("\n".join("  " * depth + "a:" for depth in range(500)), ["within each other"]),
    "deep keys": ("? " * 5000 + "a", ["within each other"]),
    "a bad date": ("a: !!timestamp 2026-13-45", ["line 1", "2026-13-45", "timestamp"]),
    "no date at all": ("a: !!timestamp soon", ["line 1", "soon", "timestamp"]),
    "no number": ("a: !!int many", ["line 1", "many", "int"]),
    "an empty number": ("a: !!int ''", ["line 1", "int"]),
    "no float": ("a: !!float many", ["line 1", "many", "float"]),
    "no truth value": ("a: !!bool perhaps", ["line 1", "perhaps", "bool"]),
    "no base64": ("a: !!binary abc", ["line 1", "base64"]),
    "5,000 digits": (f"a: {'9' * 5000}", ["line 1", "too large|cannot be read as int"]),
    "5,000 digits to the base 16": (f"a: 0x{'f' * 5000}", ["line 1", "5,002 characters", "too large"]),
    "5,000 digits to the base 2": (f"a: 0b{'1' * 5000}", ["line 1", "5,002 characters", "too large"]),
    "a key of 500 digits": (f"0x{'f' * 500}: 1", ["line 1", "too large"]),
    "a number to the base 60": ("a: 12:30:00", ["line 1", "12:30:00", "45000", "base 60"]),
    "an octal number": ("seed: 010", ["line 1", "010", "octal", "write 10"]),
    "a key given twice": ("a: 1\na: 2", ["line 2", "'a'", "given twice"]),
    "a nested key given twice": ("b: {a: 1, a: 2}", ["line 1", "'a'", "given twice"]),
    "a key that means true": ("on: 1", ["line 1", "on", "quotes"]),
    "a list for a key": ("? [a]\n: 1", ["line 1", "unhashable"]),
    "a tab": ("a:\n\tb: 1", ["line 2", "\\t|tab"]),
    "two documents": ("a: 1\n---\nb: 2", ["another document"]),
    "a tag of Python's": ("a: !!python/object/apply:os.system [id]", ["line 1", "could not determine a constructor"]),
    "a control character": ("a: \x00", ["special characters are not allowed"]),
    "an empty file": ("", ["an empty file"]),
    "a list": ("- a", ["a mapping of fields", "list"]),
    "a number": ("12", ["a mapping of fields", "int"]),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_yaml_is_refused_at_once(tmp_path: Path, text: str, says: list[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(UserError) as refused:
        read_yaml(path)
    assert time.process_time() - started < 2
    sentence = str(refused.value)
    assert sentence.startswith(str(path))
    assert len(sentence) < 400 + len(str(path))
    assert "\n" not in sentence
    assert all(any(way in sentence for way in part.split("|")) for part in says), sentence


CONTENT = {
    "UTF-16": ("a: 1".encode("utf-16"), "not a text file in UTF-8"),
    "UTF-16 without a mark": ("a: 1".encode("utf-16-le"), "not allowed"),
    "an image": (b"\x89PNG\r\n\x1a\n", "not a text file in UTF-8"),
    "too large": (b"a: 1 #" + b"#" * MOST_BYTES, "more than 2 MB"),
}


@pytest.mark.parametrize(("content", "says"), CONTENT.values(), ids=CONTENT)
def test_a_file_that_is_no_yaml(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_yaml(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
@pytest.mark.parametrize("read", [read_yaml, read_json, load_spec, load_audit])
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable) -> None:
    os.mkfifo(tmp_path / "study.yaml")
    with pytest.raises(UserError, match=r"not a file|no file|not there"):
        read(tmp_path / "study.yaml")


READ = {
    "a number with an exponent": ("a: 1e-3", 0.001),
    "a number with a sign in its exponent": ("a: -2E+5", -2e5),
    "a date": ("a: 2026-11-25", "2026-11-25"),
    "a bad date": ("a: 2026-13-45", "2026-13-45"),
    "a decimal with a zero": ("a: 0.5", 0.5),
    "zero": ("a: 0", 0),
    "a quoted octal": ("a: '010'", "010"),
    "a quoted time": ('a: "12:30"', "12:30"),
    "a version": ("a: 1.2.3", "1.2.3"),
    "a path with a colon": ("a: folder:photos", "folder:photos"),
    "an alias": ("b: &b [1, 2]\na: *b", [1, 2]),
    "a merge": ("b: &b {x: 1, y: 2}\na: {<<: *b, y: 3}", {"x": 1, "y": 3}),
    "a byte-order mark": ("\ufeffa: 1", 1),
    "lines of Windows": ("b: 1\r\na: 2\r\n", 2),
}


@pytest.mark.parametrize(("text", "value"), READ.values(), ids=READ)
def test_yaml_is_read_as_it_looks(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode())
    read = read_yaml(path)["a"]
    assert read == value
    assert type(read) is type(value)


PLAIN = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
"""Not line separators other than the usual one, which PyYAML writes as they are and reads as spaces."""
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text(alphabet=PLAIN, max_size=12),
    st.sampled_from(["1e-3", "2E5", "010", "12:30", "no", "on", "2026-11-25", "0x10", "~", "null", ".5", "1_000", "=", "<<", "- a", "a: b"]),
)  # fmt: skip


@given(
    st.dictionaries(
        st.text(alphabet=PLAIN, min_size=1, max_size=8), st.recursive(scalars, lambda of: st.lists(of, max_size=4), max_leaves=8)
    )
)
def test_what_is_written_is_read_as_the_same(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = tmp_path_factory.mktemp("yaml") / "study.yaml"
    path.write_text(write_yaml(content), encoding="utf-8")
    assert read_yaml(path) == content


JSON = {
    "deep lists": ("[" * 100_000, "too deep|not valid JSON"),
    "5,000 digits": (f'{{"a": {"9" * 5000}}}', "too large"),
    "cut short": ('{"a": ', "not valid JSON at line 1"),
    "a list": ("[]", "a mapping is needed, got list"),
    "empty": ("", "not valid JSON"),
}


@pytest.mark.parametrize(("text", "says"), JSON.values(), ids=JSON)
def test_json_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=says):
        read_json(tmp_path / "config.json")


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": [1, 2.5, None, "ü"], "b": math.pi}))
    assert read_json(tmp_path / "config.json") == {"a": [1, 2.5, None, "ü"], "b": math.pi}


@pytest.mark.parametrize(
    "text", [LAUGHS, f"seed: {'9' * 5000}", "seed: 010", "a: " + "[" * 2000], ids=["laughs", "digits", "octal", "deep"]
)
def test_every_command_refuses_such_a_study(tmp_path: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    study = make_study(tmp_path / "tiny", samples=60, seeds=1, views=2, complete=False)
    study.spec_path.write_text(text)
    spec = str(study.spec_path)
    commands = (["report", str(study.path)], ["validate", str(study.path)], ["export", str(study.path), "--to", "a.csv"],
                ["render", str(study.path)], ["run", spec], ["plan", spec], ["score", "--spec", spec])  # fmt: skip
    for command in commands:
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert "study.yaml" in said
