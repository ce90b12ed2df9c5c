"""Notebooks: the pairs are in step, the runner is strict, and one render end to end."""

import json
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.report import notebook_catalog, notebooks
from sslmem_kit.report.notebook_catalog import parameters_of, parse_parameters
from sslmem_kit.report.notebooks import NotebookError, render
from sslmem_kit.spec import places
from tests.support import ROOT
from tests.support.fake_study import make_study

FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("notebooks") / "study", samples=200)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of notebooks in place of the real ones."""
    path = tmp_path / "own_notebooks"
    path.mkdir()
    monkeypatch.setattr(notebook_catalog, "FOLDERS", (path,))
    return path


def write(folder, name, *cells, tags=("parameters",)):
    """A notebook of code cells, the first tagged."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    for cell in nb.cells[: len(tags)]:
        cell.metadata["tags"] = [tags[0]]
    nb.metadata["kernelspec"] = {"name": "nowhere", "display_name": "gone", "language": "python"}
    nbformat.write(nb, folder / f"{name}.ipynb")


DEFAULTS = 'study = "here"\ncount = 3\nshare = 0.5\nflag = True\nlist_ = [1, 2]\nprotocol = "corrected"'


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_in_step_and_without_outputs(name):
    source, notebook = jupytext.read(FOLDER / f"{name}.py"), nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    as_rows = [[(c.cell_type, c.source, c.metadata.get("tags", [])) for c in nb.cells] for nb in (source, notebook)]
    assert as_rows[0] == as_rows[1], f"run: jupytext --to ipynb notebooks/{name}.py"
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert notebook.metadata["jupytext"]["cell_metadata_filter"] == "tags,-all"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_one_a_line_with_comments(name):
    defaults = parameters_of(FOLDER / f"{name}.ipynb")
    assert defaults["study"].startswith("papermill_runs/")
    assert defaults.get("protocol", "corrected") == "corrected"
    (cell,) = [c for c in jupytext.read(FOLDER / f"{name}.py").cells if "parameters" in c.metadata.get("tags", [])]
    assert all(re.fullmatch(r"\w+ = .+  # \S.*", line) for line in cell.source.splitlines())


def test_available_looks_into_the_wheel_first(folder, tmp_path, monkeypatch):
    write(folder, "mine", DEFAULTS)
    assert list(notebook_catalog.available()) == ["mine"]
    monkeypatch.undo()
    assert list(notebook_catalog.available()) == NAMES
    assert notebook_catalog.FOLDERS[0].name == "_notebooks"


@pytest.mark.parametrize(
    ("source", "tags", "message"),
    [
        (DEFAULTS, (), "0 code cells are tagged"),
        (DEFAULTS, ("parameters", "parameters"), "2 code cells are tagged"),
        ('study = "x"\nimport os', ("parameters",), "literals only.*import os"),
        ('study = "x"\ncount = 1 + len("a")', ("parameters",), "literals only"),
        ('study = "x"\na = b = 1', ("parameters",), "literals only"),
        ('study = "x"\npair = (1, 2)', ("parameters",), "default of pair.*tuple"),
        ("count = 1", ("parameters",), "no text parameter `study`"),
    ],
)
def test_a_parameters_cell_that_papermill_would_mistreat_is_refused(folder, study, source, tags, message):
    write(folder, "bad", source, "raise SystemExit", tags=tags)
    with pytest.raises(UserError, match=message):
        render(study.path, ["bad"])
    assert not (study.path / "notebooks" / "bad.ipynb").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cuont": 1}, "no chosen notebook has this parameter, there are count, share, flag, list_, protocol"),
        ({"study": "x"}, "given by its path"),
        ({"count": 1.5}, "the default 3 is of type int"),
        ({"count": True}, "of type bool"),
        ({"flag": 1}, "of type int, the default True"),
        ({"list_": (1, 2)}, "tuple"),
        ({"count": np.int64(3)}, "int64"),
        ({"share": float("nan")}, "nan"),
        ({"list_": [Path("x")]}, "PosixPath"),
        ({"protocol": "papre"}, "choose one of paper, released, corrected"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(folder, study, parameters, message, monkeypatch):
    write(folder, "good", DEFAULTS)
    monkeypatch.setattr(notebooks, "_run", lambda *_: pytest.fail("ran"))
    with pytest.raises(UserError, match=message):
        render(study.path, parameters=parameters)


def test_wrong_names_jobs_and_studies_are_refused_before_anything_runs(folder, study, tmp_path, monkeypatch):
    write(folder, "good", DEFAULTS)
    monkeypatch.setattr(notebooks, "_run", lambda *_: pytest.fail("ran"))
    with pytest.raises(UserError, match="none named 'godo', choose from good"):
        render(study.path, ["godo"])
    with pytest.raises(UserError, match="from 1 on"):
        render(study.path, jobs=0)
    with pytest.raises(UserError, match="no folder"):
        render(tmp_path / "nowhere")
    with pytest.raises(UserError, match="incomplete"):
        render(make_study(tmp_path / "half", samples=100, complete=False).path)


def test_each_notebook_gets_the_parameters_it_has(folder, study, monkeypatch):
    write(folder, "one", 'study = "x"\ncount = 3\nshare = 0.5')
    write(folder, "two", 'study = "x"\nshare = 0.1')
    got = {}
    monkeypatch.setattr(notebooks, "_run", lambda name, path, parameters, *_: got.update({name: parameters}) or [])
    done = []
    render(study.path, parameters={"count": 5, "share": 1}, progress=lambda *call: done.append(call))
    where = str(study.path.resolve())
    assert got == {"one": {"count": 5, "share": 1.0, "study": where}, "two": {"share": 1.0, "study": where}}
    assert type(got["one"]["share"]) is float
    assert sorted(name for name, *_ in done) == ["one", "two"]
    assert [counts for _, *counts in done] == [[1, 2], [2, 2]]


def test_values_from_the_command_line(folder):
    write(folder, "good", DEFAULTS)
    given = [("count", "7"), ("share", "1e-3"), ("flag", "false"), ("list_", "[3]"), ("protocol", "paper")]
    assert parse_parameters(given) == {"count": 7, "share": 0.001, "flag": False, "list_": [3], "protocol": "paper"}
    assert parse_parameters([("protocol", "2024")]) == {"protocol": "2024"}
    assert parse_parameters([("protocol", '"2024"')]) == {"protocol": "2024"}
    for name, text, message in (("count", "seven", "not JSON"), ("share", "NaN", "not JSON"), ("other", "1", "there are count")):
        with pytest.raises(UserError, match=message):
            parse_parameters([(name, text)])
    with pytest.raises(UserError, match="given twice"):
        parse_parameters([("count", "1"), ("count", "2")])


def test_a_study_is_found_from_a_folder_below(study, monkeypatch):
    below = study.path / "figures" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert places.find_study(study.path.name).resolve() == study.path.resolve()
    assert places.find_study("nowhere/at/all") == Path("nowhere/at/all")


def test_a_failing_cell_is_named_and_the_earlier_run_stays(folder, study, capfd):
    earlier = study.notebooks / "shaky.ipynb"
    earlier.parent.mkdir(exist_ok=True)
    earlier.write_text("an earlier run")
    write(folder, "shaky", DEFAULTS, "import sys\nraise IndexError(f'{count} {sys.executable}')")
    with pytest.raises(NotebookError) as caught:
        render(study.path, ["shaky"], {"count": 8})
    # The cell knows the parameter, and runs in the interpreter that runs this test.
    start = f"notebook shaky: cell [3], which starts `import sys`, failed with IndexError: 8 {sys.executable} (see "
    assert str(caught.value).startswith(start)
    assert earlier.read_text() == "an earlier run"
    assert "IndexError" in earlier.with_name("shaky.failed.ipynb").read_text()
    assert capfd.readouterr() == ("", "")


def check_rendered(study, paths, names):
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("ipynb", "html")]
    for path in paths:
        assert path.stat().st_size < 3e6
        if path.suffix == ".ipynb":
            outputs = [o for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
            assert outputs
            assert not [o for o in outputs if o["output_type"] in ("stream", "error")]
        else:
            page = re.sub(r"<script>.*?</script>", "", path.read_text(), flags=re.S)
            assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?!data:)[^\"]*\"", page)
            assert "cdn" not in re.sub(r"data:[\w/+.;-]*base64,[\w+/=]*", "", page)  # letters of a picture may spell it


def test_tables_render_end_to_end(study, capfd):
    failed = study.notebooks / "tab02_tests.failed.ipynb"
    failed.parent.mkdir(exist_ok=True)
    failed.touch()
    paths = render(study.path, ["tab02_tests"], {"protocol": "paper"}, html=True)
    check_rendered(study, paths, ["tab02_tests"])
    assert (study.figures / "tab02.png").exists()
    assert not failed.exists()
    assert 'protocol = \\"paper\\"' in paths[0].read_text()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_all_notebooks_render_in_parallel(study):
    paths = render(study.path, jobs=2, html=True)
    check_rendered(
        study, paths, [name for name in NAMES if name not in (*notebook_catalog.OF_TREES, *notebook_catalog.OF_FRONTIERS)]
    )
    figures = {"fig02a", "fig02b", "fig02c", "tab02", "gallery"}
    assert {path.name for path in study.figures.iterdir() if path.is_file()} >= {
        f"{n}.{e}" for n in figures for e in ("png", "html")
    }
