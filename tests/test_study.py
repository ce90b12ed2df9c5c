"""How a study shows itself, in a line and in a notebook: what it is and what its report begins with, or why there are no results."""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sslmem_kit import store, study
from sslmem_kit.cli import main
from sslmem_kit.names import ONE_MODEL
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.spec.audit import parse_audit
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.places import RUNS, find_study
from sslmem_kit.statistics.overview import as_html
from sslmem_kit.store import integrity
from sslmem_kit.store.directory import as_yaml, create_or_resume
from sslmem_kit.study import AuditStudy, Study, StudyResults, open_study
from tests.support.browser import needs_browser, open_browser
from tests.support.fake_study import make_study
from tests.support.lab import Notebook, running_lab, write_notebook
from tests.support.pages import new_page
from tests.test_imports import imported

Copy = Callable[[str], Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("whole") / "tiny").path


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("unfinished") / "tiny", complete=False).path


@pytest.fixture
def copy(tmp_path: Path, whole: Path) -> Copy:
    return lambda name: Path(shutil.copytree(whole, tmp_path / name))


def make_audit(path: Path, mode: str) -> Path:
    """Make the finished study an audit of encoders with names of their own."""
    spec = {
        "name": "mine",
        "description": "Checkpoints\nof a colleague",
        "data": {"name": "digits"},
        "encoders": [
            {"id": "first", "factory": "models:make"},
            {"id": "second", "encoder": {"backbone": "resnet18"}, "weights": "w.pt", "normalize": "imagenet"},
        ],
    }
    audit = parse_audit(spec, where="audit").resolved(path)
    (path / "study.yaml").write_text(as_yaml(audit))
    store.set_attributes(path / "results.zarr", {"mode": mode, "spec_hash": audit.hash})
    store.finish(path / "results.zarr")
    integrity.renew(path / "results.zarr")
    return path


class Reader(HTMLParser):
    """Texts of a page, in order, and its tags; every tag that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.opened: list[str] = []
        self.feed(page)
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.opened[-1] != "style":
            self.texts.append(data.strip())


def texts(opened: StudyResults) -> list[str]:
    return Reader(opened._repr_html_()).texts


def test_a_study_shows_what_it_is_and_the_head_of_its_report(whole: Path) -> None:
    opened = open_study(whole)
    shown = texts(opened)
    assert shown[:2] == ["Study tiny", str(whole)]
    facts = dict(zip(shown[2:18:2], shown[3:18:2], strict=True))
    assert facts == {
        "objective": "simclr",
        "backbone": "resnet18",
        "data": "digits",
        "samples": facts["samples"],
        "views": "4 beside the clean one",
        "encoders": "6: f-0, g-0, f-1, g-1, f-2, g-2",
        "seeds": "3",
        "layers": "full representation",
    }
    report = build_report(open_study(whole))
    assert facts["samples"] == f"{sum(report['n'].values())}: " + ", ".join(f"{n} {name}" for name, n in report["n"].items())
    words = " ".join(shown).split()
    lines = as_text(report).partition("\ncan say")[0].splitlines()
    lines = [line for line in lines if not line.startswith(("effect of membership", "partition ", "over samples"))]  # headings
    lines = [line.partition(" (seeds)")[0] for line in lines]  # what else an interval is given
    assert [word for line in lines for word in line.split() if word not in words] == []
    assert all(" ".join(line.split()) in " ".join(words) for line in lines[:2])  # what it is, and the verdict


def test_every_number_is_the_reports(whole: Path) -> None:
    shown = Reader(open_study(whole)._repr_html_()).texts
    lines = as_text(build_report(open_study(whole))).splitlines()
    for name in ("shared", "candidate", "independent", "extra"):
        line = next(line for line in lines if line.startswith(f"{name} "))
        at = shown.index(name)
        assert " ".join(shown[at : at + 6]).split() == line.split()
    for line in lines:
        if re.match(r"[CSIE](>|<|!=)", line):
            alternative, *claim, t, p, d, n = line.split()
            at = shown.index(" ".join([alternative, *claim]))
            assert shown[at + 1 : at + 5] == [t, p, d, n]


def test_caveats_are_shown_as_the_report_shows_them(tmp_path: Path) -> None:
    opened = make_study(tmp_path / "one", seeds=1)
    warnings = [line for line in as_text(build_report(opened)).splitlines() if line.startswith("WARNING: ")]
    assert len(warnings) == 1
    assert [text for text in texts(open_study(opened.path)) if text.startswith("WARNING: ")] == warnings


def test_what_to_do_next_works_as_it_is_shown(
    whole: Path, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / RUNS).mkdir()
    moved = copy(f"{RUNS}/tiny")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    shown = texts(open_study(moved))
    for code in ("sslmem_kit.open_study('tiny').scores()", "sslmem_kit.explore('tiny')", "sslmem app tiny", "sslmem render tiny"):
        assert code in shown
    assert main(next(text for text in shown if text.startswith("sslmem report")).split()[1:]) == 0
    assert main(next(text for text in shown if text.startswith("sslmem export")).split()[1:]) == 0
    assert Path("scores.csv").is_file()
    assert capsys.readouterr().out.startswith("study tiny: 6 encoders")


def test_a_name_that_is_an_option_or_a_home_folder_is_typed_as_a_path(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, typed in {"-x": str(tmp_path / "-x"), "~x": str(tmp_path / "~x"), "a b": "a b"}.items():
        shown = texts(Study(copy(name)))
        code = next(text for text in shown if "open_study" in text)
        assert code == f"sslmem_kit.open_study({typed!r}).scores()"
        assert find_study(typed).absolute() == tmp_path / name
    assert "sslmem report 'a b'" in shown


def test_an_audit_shows_its_encoders(copy: Copy) -> None:
    path = make_audit(copy("audit"), "pair")
    shown = texts(open_study(path))
    assert shown[:3] == ["Audit mine", str(path), "Checkpoints of a colleague"]
    assert shown[shown.index("audit of") + 1] == "first (models:make), second (resnet18)"
    assert "study mine: 6 encoders, protocol corrected (sslmem = raw difference)" in shown
    assert f"sslmem app {path}" in shown
    assert not any("render" in text for text in shown)
    assert repr(open_study(path)) == f"<AuditStudy mine: 2 encoders, finished, {str(path)!r}>"


def test_one_model_shows_alignment_and_that_these_are_no_scores(copy: Copy) -> None:
    path = make_audit(copy("alone"), ONE_MODEL)
    shown = texts(open_study(path))
    lines = as_text(build_report(open_study(path))).splitlines()
    assert lines[0] in shown
    assert lines[1] in shown
    at = shown.index("f-0", shown.index("5 % to 95 %"))
    assert " ".join(shown[at : at + 6]).split() == next(line for line in lines if line.startswith("f-0 ")).split()
    assert f"sslmem_kit.open_study({str(path)!r}).alignments()" in shown
    assert not any("scores()" in text or "explore" in text or "seeds" in text for text in shown)


def test_a_study_that_never_ran_says_how_to_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_or_resume(tmp_path / "new", parse_spec({"name": "new", "data": {"name": "digits"}}, where="x").resolved(tmp_path))
    shown = " ".join(texts(open_study("new")))
    assert "Not run yet: sslmem run new/study.yaml --out new trains and scores its encoders." in shown
    assert "objective simclr" in shown
    assert "sslmem plan new/study.yaml" in shown
    assert repr(open_study("new")) == f"<Study new: 6 encoders, not run yet, {str(tmp_path / 'new')!r}>"


def test_an_unfinished_study_says_what_is_missing_and_how_to_resume(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unfinished.parent)
    shown = " ".join(texts(open_study(unfinished)))
    assert "Unfinished, alignment is missing of g-0 (4 of 4 sample blocks), " in shown
    assert ": sslmem run tiny/study.yaml --out tiny resumes it." in shown
    assert "sslmem_kit.monitor('tiny')" in shown
    assert "mean" not in shown
    assert "unfinished" in repr(open_study(unfinished))


@pytest.mark.parametrize("file", ["zarr.json", "c/0/0/0", "completeness/scored/c/0/0", "alignment/zarr.json"])
@pytest.mark.parametrize("harm", ["cut", "delete"])
def test_a_damaged_study_says_so_and_how_to_mend_it(copy: Copy, file: str, harm: str) -> None:
    path = copy("damaged")
    results = path / "results.zarr"
    damaged = results / file if (results / file).exists() else next((results / "alignment").rglob(file))
    damaged.unlink() if harm == "delete" else damaged.write_bytes(damaged.read_bytes()[:-5])
    shown = " ".join(texts(open_study(path)))
    assert "Study tiny" in shown
    assert "mean" not in shown
    if "completeness" in file and harm == "delete":
        assert "Unfinished, alignment is missing of f-0 (1 of 4 sample blocks)" in shown
        assert f": sslmem run {path}/study.yaml --out {path} resumes it." in shown
    else:
        assert f"{results}" in shown
        assert f": sslmem run {path}/study.yaml --out {path} writes again what is damaged." in shown
        assert shown.count("sslmem run") == 1
    assert repr(open_study(path)).startswith("<Study tiny: 6 encoders, ")


def test_lost_values_are_no_verdict(copy: Copy) -> None:
    opened = open_study(copy("lost"))
    assert opened.tree is not None
    shutil.rmtree(opened.results_path / "alignment" / "c")
    shown = " ".join(texts(opened))
    assert "chunks are lost" in shown
    assert "sslmem run" in shown
    assert "candidates above shared" not in shown


@pytest.mark.parametrize("content", [None, b"", b"{", b"name: [", b"\xff\xfe", b"name: x\nunknown: 1\n"])
def test_without_a_spec_it_never_raises(copy: Copy, content: bytes | None) -> None:
    path = copy("<b>")
    opened = open_study(path)
    (path / "study.yaml").unlink() if content is None else (path / "study.yaml").write_bytes(content)
    shown = " ".join(texts(opened))
    assert f"Study <b> {path}" in shown
    assert "sslmem validate" in shown
    assert repr(opened).startswith(f"<Study {str(path)!r}: ")


def test_whatever_fails_is_said_in_a_sentence(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("<script>")

    monkeypatch.setattr(store, "open_results", fail)
    page = open_study(whole)._repr_html_()
    assert "ZeroDivisionError: &lt;script&gt;." in page
    assert "script" not in Reader(page).tags


def test_names_from_files_are_texts(whole: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror='alert(1)'>\u202e"
    opened = make_study(tmp_path / "tiny", seeds=1, classes=(evil, "one", "two"))
    described = 'description: "<script>{{ 1 }}"'
    opened.spec_path.write_text(opened.spec_path.read_text().replace("description: ''", described))
    group = zarr.open_group(opened.results_path, mode="r+", use_consolidated=False)
    group["encoder"][:] = np.array([evil, "{{ name }}"], group["encoder"].dtype)
    record = dict.fromkeys(("images", "sizes", "splits", "passed_over"))
    record |= {"samples": 3, "shape": [3], "classes": 3, "copies": {"samples": 0, "test_in_train": 0, "other_class": 0}}
    record |= {"passed_over": {"count": 1, "by": {evil: 1}, "first": [evil]}}
    store.set_attributes(opened.results_path, {"data": json.dumps(record)})
    store.finish(opened.results_path)
    integrity.renew(opened.results_path)
    page = open_study(opened.path)._repr_html_()
    assert Reader(page).tags == Reader(open_study(whole)._repr_html_()).tags
    assert page.count(html.escape(f"{evil[:-1]}\\u202e")) == 3
    assert "&lt;script&gt;{{ 1 }}" in page
    assert "2: " in page
    assert "{{ name }}" in page


def test_a_page_holds_any_character() -> None:
    page = as_html({"kind": "Study", "name": "\udcff\x00", "steps": [("\ud800", "x")]})
    assert page.encode()
    assert "\\udcff\\x00" in page


def test_many_alignments_are_left_to_the_report(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "READ_AT_A_GLANCE", 10)
    monkeypatch.setattr(Study, "scores", None)
    shown = texts(open_study(whole))
    assert any("are too many for a glance, `sslmem report` reads them" in text for text in shown)
    assert f"sslmem report {whole}" in shown


def test_a_study_of_the_size_of_digits_is_shown_within_a_second(tmp_path: Path) -> None:
    path = make_study(tmp_path / "digits", samples=1797, views=5).path
    open_study(path)._repr_html_()
    start = time.process_time()
    assert "candidates above shared" in open_study(path)._repr_html_()
    assert time.process_time() - start < 1


def test_it_is_shown_without_torch(whole: Path) -> None:
    code = f"import sslmem_kit\nassert 'Cohen d' in sslmem_kit.open_study({str(whole)!r})._repr_html_()"
    assert imported(code, "torch", "holoviews", "panel", "xarray") == ["xarray"]


def test_colours_are_the_themes() -> None:
    page = as_html({"kind": "Study", "name": "x"})
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", page)
    assert set(re.findall(r"color\d?, ([\w-]+)\)", page)) <= {"inherit", "currentColor"}


@pytest.mark.browser
@needs_browser
def test_jupyterlab_shows_it_in_both_themes(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    source = f"import sslmem_kit\nsslmem_kit.open_study({str(whole)!r})"
    with running_lab(tmp_path) as url, open_browser() as browser, new_page(browser) as page:
        notebook = Notebook(page, url, write_notebook(tmp_path / "notebooks" / "study.ipynb", source))
        notebook.run_all()
        card = page.locator(".sslmem-study")
        card.wait_for()
        assert "candidates above shared" in card.inner_text()
        assert page.evaluate("() => getComputedStyle(document.querySelector('.sslmem-study .facts td')).textAlign") == "left"
        assert card.evaluate("card => card.scrollWidth <= card.clientWidth")
        for theme in ("Dark", "Light"):
            notebook.command("apputils:change-theme", theme=f"JupyterLab {theme}")
            page.wait_for_function("light => (document.body.dataset.jpThemeLight === 'true') === light", arg=theme == "Light")
            colour = page.evaluate("() => getComputedStyle(document.querySelector('.sslmem-study .facts td')).color")
            brightness = np.mean([float(value) for value in re.findall(r"[\d.]+", colour)[:3]])
            assert (brightness < 100) == (theme == "Light")


def test_opened_by_its_kind(copy: Copy) -> None:
    assert type(open_study(copy("a"))) is Study
    assert type(open_study(make_audit(copy("b"), "pair"))) is AuditStudy
