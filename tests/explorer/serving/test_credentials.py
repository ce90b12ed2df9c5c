"""The users file and the brake on guessing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.serving import credentials
from sslmem_kit.explorer.serving.credentials import RateLimiter, Users, add_user, doubts_about, read_users, remove_user

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing that takes no time; the file tells its own cost."""
    monkeypatch.setattr(credentials, "_COST", (2, 1, 1))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.json"
    add_user(path, "ann", PASSWORD)
    return path


def test_a_file_holds_hashes_that_scrypt_confirms_and_is_for_its_owner(users: Path) -> None:
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert PASSWORD not in users.read_text()
    record = json.loads(users.read_text())["users"]["ann"]
    n, r, p = record["scrypt"]
    assert hashlib.scrypt(PASSWORD.encode(), salt=bytes.fromhex(record["salt"]), n=n, r=r, p=p, dklen=64).hex() == record["hash"]
    assert [path.name for path in users.parent.iterdir()] == ["users.json"]


def test_the_cost_is_owasps() -> None:
    assert credentials._NOBODY.cost == (2**15, 8, 3)


def test_two_equal_passwords_are_kept_differently(users: Path) -> None:
    add_user(users, "bob", PASSWORD)
    known = read_users(users)
    assert known["ann"].hash != known["bob"].hash
    assert len(known["ann"].salt) == 16


def test_only_the_right_password_of_the_right_user_does(users: Path) -> None:
    add_user(users, "bob", "another one")
    known = Users(users)
    assert known.verify("ann", PASSWORD)
    for name, password in [
        ("ann", "another one"),
        ("bob", PASSWORD),
        ("eve", PASSWORD),
        ("ann", ""),
        ("", ""),
        ("ann", "x" * 2000),
    ]:
        assert not known.verify(name, password)


def test_an_unknown_name_costs_the_same_work(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    scrypt = credentials._scrypt
    monkeypatch.setattr(credentials, "_NOBODY", credentials.Password.of("nobody"))
    monkeypatch.setattr(credentials, "_scrypt", lambda password, salt, cost: costs.append(cost) or scrypt(password, salt, cost))
    known = Users(users)
    known.verify("ann", "wrong one")
    known.verify("eve", "wrong one")
    assert costs == [(2, 1, 1)] * 2


def test_changes_count_at_once_and_a_file_that_breaks_lets_nobody_in(users: Path) -> None:
    known = Users(users)
    add_user(users, "bob", "another one")
    assert set(known.current()) == {"ann", "bob"}
    remove_user(users, "ann")
    assert not known.verify("ann", PASSWORD)
    users.write_text("{")
    assert known.current() == {}
    users.unlink()
    assert known.current() == {}


@pytest.mark.parametrize("name", ["", "../etc", "a b", "-x", "<b>", "a" * 65, "ann\n", "é"])
def test_silly_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no user name"):
        add_user(tmp_path / "users.json", name, PASSWORD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_passwords_of_a_wrong_length_are_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(UserError, match=f"{len(password)} characters"):
        add_user(tmp_path / "users.json", "ann", password)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"users": []}',
        b'{"users": {"ann": "secret"}}',
        b'{"users": {"ann": {"scrypt": [3, 8, 1], "salt": "00", "hash": "00", "since": 0}}}',
        b'{"users": {"ann": {"scrypt": [1073741824, 8, 1], "salt": "00", "hash": "00", "since": 0}}}',
        b'{"users": {"../x": {"scrypt": [2, 1, 1], "salt": "00", "hash": "00", "since": 0}}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_users_file_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "users.json"
    path.write_bytes(content)
    path.chmod(0o600)
    for attempt in (lambda: read_users(path), lambda: add_user(path, "ann", PASSWORD)):
        with pytest.raises(UserError, match=r"users\.json|NAME"):
            attempt()
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_to_is_refused(users: Path, mode: int) -> None:
    users.chmod(mode)
    with pytest.raises(UserError, match="0600"):
        Users(users)


def test_what_lets_others_at_a_users_file_is_told(users: Path) -> None:
    assert doubts_about(users) == []
    users.chmod(0o644)
    assert "0644" in doubts_about(users)[0]
    users.chmod(0o600)
    users.parent.chmod(0o777)
    assert "folder" in doubts_about(users)[0]
    users.parent.chmod(0o1777)
    assert doubts_about(users) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_users_file_of_somebody_else_is_told(users: Path) -> None:
    os.chown(users, 12345, -1)
    assert "uid 12345" in doubts_about(users)[0]


def test_a_failed_write_leaves_the_file_as_it_was(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = users.read_bytes()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        add_user(users, "bob", PASSWORD)
    assert users.read_bytes() == before
    assert [path.name for path in users.parent.iterdir()] == ["users.json"]


def test_the_command_line_adds_lists_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = str(tmp_path / "users.json")

    def add(name: str, password: str) -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{password}\n".encode())))
        return main(["app-user", "add", name, "--file", path, "--password-stdin"])

    assert (add("bob", PASSWORD), add("ann", PASSWORD), add("eve", "short"), add("a b", PASSWORD)) == (0, 0, 2, 2)
    capsys.readouterr()
    assert main(["app-user", "list", "--file", path]) == 0
    assert capsys.readouterr().out.split() == ["ann", "bob"]
    assert main(["app-user", "remove", "bob", "--file", path]) == 0
    assert set(read_users(Path(path))) == {"ann"}
    for arguments in (["remove", "bob", "--file", path], ["list", "--file", f"{path}x"], ["remove", "ann", "--file", f"{path}x"],
                      ["list", "--file", str(tmp_path)]):  # fmt: skip
        capsys.readouterr()
        assert main(["app-user", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_waits_double_are_bounded_and_forgotten() -> None:
    clock = Clock()
    limiter = RateLimiter(free=5, longest=300, clock=clock)
    waits = []
    for _ in range(20):
        waits.append(limiter.wait("ann"))
        limiter.failed("ann")
    assert waits == [0] * 5 + [1, 2, 4, 8, 16, 32, 64, 128, 256] + [300] * 6
    assert limiter.wait("bob") == 0
    clock.now += 299
    assert limiter.wait("ann") == 1
    clock.now += 1
    assert limiter.wait("ann") == 0
    limiter.failed("ann")
    assert limiter.wait("ann") == 300
    clock.now += 901
    assert limiter.wait("ann") == 0
    limiter.failed("ann")
    assert limiter.wait("ann") == 0
    limiter.failed("ann")
    limiter.take_back("ann")
    assert limiter._failures["ann"][0] == 1
    limiter.take_back("ann")
    limiter.take_back("ann")
    limiter.failed("bob")
    limiter.forget("bob")
    assert not limiter._failures


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), max_size=60))
def test_memory_is_bounded_and_the_latest_are_kept(keys: list[str]) -> None:
    limiter = RateLimiter(free=1, longest=300, size=4, clock=lambda: 0.0)
    for key in keys:
        limiter.failed(key)
    latest = list(dict.fromkeys(reversed(keys)))[:4]
    assert set(limiter._failures) == set(latest)
