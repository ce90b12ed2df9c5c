"""Every kind of damage to every file of a study, and what each of the commands that read it says: a table of counts.

python -m tests.support.damage STUDY [every n-th case]
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sslmem_kit.cli import main

Harm = Callable[[], None]


class Case(NamedTuple):
    """One damage: of which part of the study, of which kind, to which file."""

    part: str
    kind: str
    file: Path
    harm: Harm
    touched: tuple[Path, ...]


class Outcome(NamedTuple):
    """What is said of a damaged study."""

    validate: str
    """``named``, ``valid`` or ``traceback``."""
    read: str
    """``refused``, ``same``, ``changed`` or ``traceback``: report and export against those of the whole study."""


def cases(path: Path, *, seed: int = 0) -> Iterator[Case]:
    """All of a study's cases."""
    draw = random.Random(seed)
    files = sorted(file for file in path.rglob("*") if file.is_file() and _counts(file.relative_to(path)))
    for file in files:
        part, content = _part(path, file), file.read_bytes()
        for place in sorted({*(0, len(content) - 1), *(draw.randrange(len(content)) for _ in range(3))}) if content else ():
            bit = draw.randrange(8)
            yield Case(part, "flip", file, lambda f=file, c=content, p=place, b=bit: f.write_bytes(flipped(c, p, b)), (file,))
        yield Case(part, "cut", file, lambda f=file, c=content: f.write_bytes(c[: len(c) // 2]), (file,))
        yield Case(part, "empty", file, lambda f=file: f.write_bytes(b""), (file,))
        yield Case(part, "delete", file, file.unlink, (file,))
    for one, other in itertools.pairwise(files):
        alike = _part(path, one) == _part(path, other) and (one.name == other.name or "c" in one.parts)
        if alike and one.read_bytes() != other.read_bytes():
            yield Case(_part(path, one), "swap", one, lambda a=one, b=other: swap(a, b), (one, other))


def _counts(name: Path) -> bool:
    """What results rest on: not figures, notebooks, the lock, or checkpoints that the next training writes over."""
    return name.parts[0] in ("results.zarr", "study.yaml") or (name.parts[0] == "encoders" and "resume" not in name.parts)


def _part(path: Path, file: Path) -> str:
    name = file.relative_to(path)
    if name.parts[0] != "results.zarr":
        return name.name
    inside = name.parts[1:]
    if "checksums" in inside:
        return "record of checksums"
    if name.name == "zarr.json":
        return "zarr.json" if len(inside) > 1 else "zarr.json of the root"
    return "/".join(itertools.takewhile(lambda part: part != "c", inside))


def flipped(content: bytes, place: int, bit: int) -> bytes:
    """With one bit the other way."""
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def swap(one: Path, other: Path) -> None:
    """Let two files change places."""
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


@contextlib.contextmanager
def damaged(case: Case) -> Iterator[None]:
    """Within, the case has happened."""
    before = [file.read_bytes() for file in case.touched]
    try:
        case.harm()
        yield
    finally:
        for file, content in zip(case.touched, before, strict=True):
            file.write_bytes(content)


def told(*arguments: str) -> tuple[int | None, str]:
    """Exit status of a command and what it printed; None where it raised."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*arguments])
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return status, out.getvalue() + err.getvalue()


def numbers(path: Path) -> tuple[str, str] | None:
    """What report and export give, without what the report warns of; None where one of them raised, empty where one refused."""
    status, text = told("report", str(path), "--json")
    with tempfile.TemporaryDirectory() as folder:
        exported, _ = told("export", str(path), "--to", f"{folder}/scores.csv")
        table = Path(folder, "scores.csv").read_text() if exported == 0 else ""
    if status is None or exported is None:
        return None
    report = {key: value for key, value in json.loads(text).items() if key != "warnings"} if status == 0 else ""
    return json.dumps(report), table


def judge(path: Path, whole: tuple[str, str]) -> Outcome:
    """What is said of a study as it is now."""
    status, text = told("validate", str(path))
    valid = "traceback" if status is None or "Traceback" in text else "valid" if status == 0 else "named"
    found = numbers(path)
    if found is None:
        return Outcome(valid, "traceback")
    parts = [
        "refused" if part in ("", '""') else "same" if part == own else "changed" for part, own in zip(found, whole, strict=True)
    ]
    return Outcome(valid, "changed" if "changed" in parts else "refused" if "refused" in parts else "same")


def sweep(path: Path, *, every: int = 1) -> tuple[Counter, list[tuple[Case, Outcome]]]:
    """Counts of outcomes by part and kind, and the cases that went wrong."""
    whole = numbers(path)
    counts: Counter = Counter()
    wrong = []
    for case in itertools.islice(cases(path), 0, None, every):
        with damaged(case):
            outcome = judge(path, whole)
        counts[case.part, case.kind, outcome] += 1
        if outcome.validate != "named" or outcome.read in ("changed", "traceback"):
            wrong.append((case, outcome))
    return counts, wrong


def table(counts: Counter) -> str:
    """The counts for a person: a row a part, with every kind of damage and what came of it."""
    lines = [f"{'part':<28} {'cases':>6} {'flip':>5} {'cut':>4} {'empty':>5} {'delete':>6} {'swap':>5} {'named':>6} {'refused':>8} {'same':>5}"
             f" {'valid':>6} {'changed':>8} {'traceback':>10}"]  # fmt: skip
    for part in [*sorted({part for part, _, _ in counts}), "all"]:
        own = [(kind, outcome, number) for (name, kind, outcome), number in counts.items() if part in (name, "all")]

        def sum_of(test: Callable[[str, Outcome], bool], own: list = own) -> int:
            return sum(number for kind, outcome, number in own if test(kind, outcome))

        kinds = [sum_of(lambda kind, _, wanted=wanted: kind == wanted) for wanted in ("flip", "cut", "empty", "delete", "swap")]
        ends = [
            sum_of(lambda _, o: o.validate == "named"),
            sum_of(lambda _, o: o.read == "refused"),
            sum_of(lambda _, o: o.read == "same"),
            sum_of(lambda _, o: o.validate == "valid"),
            sum_of(lambda _, o: o.read == "changed"),
            sum_of(lambda _, o: "traceback" in o),
        ]
        widths = (5, 4, 5, 6, 5, 6, 8, 5, 6, 8, 10)
        numbers_ = " ".join(f"{value:>{width}}" for value, width in zip([*kinds, *ends], widths, strict=True))
        lines.append(f"{part:<28} {sum(kinds):>6} {numbers_}")
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(sys.argv[1], Path(scratch, Path(sys.argv[1]).name)))
        found, bad = sweep(copy, every=int(sys.argv[2]) if len(sys.argv) > 2 else 1)
        print(table(found))
        for case, outcome in bad:
            print("WRONG", case.kind, case.file.relative_to(copy), *outcome)
