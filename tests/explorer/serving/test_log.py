"""The log of a server stays short, whatever is sent."""

from __future__ import annotations

import io
import logging
import re

import pytest

from sslmem_kit.explorer.serving import log
from sslmem_kit.explorer.serving.log import Lines, safe


@pytest.fixture
def written() -> tuple[logging.Logger, io.StringIO, list[float], Lines]:
    now, stream = [0.0], io.StringIO()
    lines = Lines(stream, lambda: now[0])
    logger = logging.Logger("a server")
    logger.addHandler(lines)
    return logger, stream, now, lines


def test_a_line_has_its_time_and_is_short(written: tuple) -> None:
    logger, stream, _, _ = written
    logger.warning("%s was sent", "x" * 100_000)
    (line,) = stream.getvalue().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning xxx", line)
    assert len(line) < 500


def test_control_characters_and_line_ends_are_escaped(written: tuple) -> None:
    logger, stream, _, _ = written
    logger.warning("asked for %s", "a\r\n2026-01-01 00:00:00 warning forged \x1b[31m\x00\u202e")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert r"\r\n" in stream.getvalue()


def test_what_repeats_is_counted(written: tuple) -> None:
    logger, stream, now, lines = written
    for number in range(100_000):
        logger.warning("404 GET /%d", number)
    for number in range(1_000):
        logger.warning(f"another kind {number}")
    assert len(stream.getvalue().splitlines()) == log.PER_MINUTE
    now[0] = 61
    lines.turn()
    last = stream.getvalue().splitlines()[-1]
    assert "more lines in the last minute" in last
    assert "99,990 more of '404 GET /%d'" in last
    logger.warning("404 GET /%d", 1)
    assert stream.getvalue().splitlines()[-1].endswith("404 GET /1")


def test_a_traceback_is_told_once_and_only_its_end(written: tuple) -> None:
    logger, stream, _, _ = written

    def deep(number: int) -> None:
        if number:
            deep(number - 1)
        raise ValueError("y" * 100_000)

    for _ in range(50):
        try:
            deep(200)
        except ValueError:
            logger.exception("it failed")
    assert len(stream.getvalue()) < 10_000
    assert stream.getvalue().count("Traceback") <= 1


@pytest.mark.parametrize(
    "text",
    [
        "GET /login?code=SECRET&state=SECRET",
        "HTTPServerRequest(uri='/login?next=x&code=SECRET')",
        "{'password': 'SECRET'}",
        'password="SECRET"',
        "Cookie: user-5006=SECRET",
        "Authorization: Bearer SECRET",
        "Expired cookie b'2|1:0|10:1700000000|9:user-5006|4:SECRET|abcdef'",
        "access_token=SECRET; path=/",
        "bokeh, eyJzZXNzaW9uX2lkIjoiYWJjZGVmZ2hpamtsbW5SECRET",
    ],
)
def test_secrets_are_left_out(text: str) -> None:
    assert "SECRET" not in safe(text)


def test_arguments_that_do_not_fit_do_no_harm(written: tuple) -> None:
    logger, stream, _, _ = written
    logger.warning("%d %s", "x")
    assert "%d %s" in stream.getvalue()
