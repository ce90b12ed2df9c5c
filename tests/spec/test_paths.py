"""The place where it runs: home folders, changed and deleted working directories, read-only disks, packed studies, locales, limits."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from PIL import Image

from sslmem_kit.cli import main
from sslmem_kit.data import load
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.report import notebook_catalog, notebooks
from sslmem_kit.report.notebooks import NotebookError, render
from sslmem_kit.spec import paths
from sslmem_kit.spec.audit import load_audit
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.spec.places import find_study
from sslmem_kit.study import open_study
from tests.support import ROOT
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("places") / "study", samples=120)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of one's own, and another working directory."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


@pytest.fixture
def own_notebook(tmp_path, monkeypatch):
    """A folder with the one notebook ``own``, of the cells that it is called with."""
    monkeypatch.setattr(notebook_catalog, "FOLDERS", (tmp_path / "own",))

    def write(*cells: str) -> None:
        (tmp_path / "own").mkdir()
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, tmp_path / "own" / "own.ipynb")

    return write


def images(folder: Path, classes: tuple[str, ...] = ("a", "b")) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


# -- home folders -----------------------------------------------------------------------------------------------------------------------


def test_a_home_folder_is_filled_in_wherever_a_path_is_given(home, study, capsys):
    (home / "study").symlink_to(study.path)
    images(home / "photos")
    np.savez(home / "split.npz", sample=np.arange(3))
    (home / "spec.yaml").write_text(
        yaml.safe_dump({"name": "s", "data": {"name": "folder:~/photos", "root": "~/sets"}, "objective": {"method": "simclr"}}),
        encoding="utf-8",
    )
    audit = {
        "name": "a", "data": {"name": "folder:~/photos"}, "samples": "~/samples.txt",
        "encoders": [{"id": "f", "factory": {"function": "mine:make", "folder": "~/code"}, "normalize": "none", "weights": "~/f.pth",
                      "trained_on": "~/f.csv"}, {"id": "g", "study": {"path": "~/study", "encoder": "f-0"}, "trained_on": "~/g.csv"}],
    }  # fmt: skip
    (home / "audit.yaml").write_text(yaml.safe_dump(audit), encoding="utf-8")
    assert main(["report", "~/study"]) == 0
    assert main(["export", "~/study", "--to", "~/scores.csv"]) == 0
    assert (home / "scores.csv").is_file()
    assert main(["app-user", "list", "--file", "~/users.json"]) == 2
    assert str(home / "users.json") in capsys.readouterr().err
    spec = load_spec("~/spec.yaml", remove=Path("~/split.npz"), data="folder:~/photos")
    assert spec.data.name == f"folder:{home / 'photos'}"
    assert spec.data.root == str(home / "sets")
    assert spec.partition.remove == str(home / "split.npz")
    told = load_audit(Path("~/audit.yaml"))
    assert (told.data.name, told.samples) == (f"folder:{home / 'photos'}", str(home / "samples.txt"))
    f, g = told.encoders
    assert (f.factory.folder, f.weights, f.trained_on) == (str(home / "code"), str(home / "f.pth"), str(home / "f.csv"))
    assert g.study.path == str((home / "study").resolve())
    assert open_study("~/study").path == home / "study"
    assert find_study("~/study") == home / "study"
    assert Library(["~/study"]).keys == ("study",)
    assert not list(Path().iterdir()), "nothing is written to a folder called ~"


def test_without_any_home_folder_only_what_needs_one_fails(monkeypatch, study):
    def nobody(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", lambda path: nobody(path) if str(path).startswith("~") else path)
    with pytest.raises(UserError, match=r"~/x: this home folder is not known.*set HOME"):
        paths.expanded("~/x")
    with pytest.raises(UserError, match="set HOME"):
        _ = DataSpec(name="mnist").root_folder
    assert open_study(study.path)
    assert load(DataSpec(name="digits"))
    monkeypatch.delenv("HOME", raising=False)
    paths.give_home()
    assert os.environ["HOME"] == "/nonexistent"
    monkeypatch.delenv("HOME")


NOBODY = "import pwd\ndef nobody(*_):\n    raise KeyError('not found')\npwd.getpwuid = pwd.getpwnam = nobody\n"


def test_a_notebook_renders_for_a_user_whom_no_list_knows(tmp_path, study, own_notebook, monkeypatch):
    own_notebook('study = ""', "from pathlib import Path\nprint(Path.home())")
    (tmp_path / "sitecustomize.py").write_text(NOBODY, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory.")))
    (path,) = render(study.path, ["own"], out=tmp_path / "out")
    assert "sslmem-render-" in path.read_text(encoding="utf-8")


# -- working directories ----------------------------------------------------------------------------------------------------------------


def test_relative_paths_stay_right_when_the_working_directory_changes(tmp_path, study, monkeypatch):
    monkeypatch.chdir(study.path.parent)
    images(tmp_path / "photos")
    opened, library = open_study("study"), Library(["study"])
    monkeypatch.chdir(tmp_path)
    data = load(DataSpec(name="folder:photos", memory_limit_mb=0))
    monkeypatch.chdir("/")
    assert opened.path == study.path
    assert opened.scores()["sslmem"].notnull().all()
    assert library.open("study").tree is not None
    assert data.read([0, 1]).shape == (2, 8, 8, 1)


def test_a_deleted_working_directory_is_told_in_one_sentence(tmp_path, study, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        for command in (["report", "study"], ["run", "digits"], ["export", str(study.path), "--to", "x.csv"], ["render", "study"]):
            assert main(command) == 2, command
            told = capsys.readouterr().err.strip().splitlines()[-1]
            assert "working directory" in told or "no folder" in told
        assert main(["report", str(study.path)]) == 0
    finally:
        monkeypatch.undo()


# -- what is not a folder of a study ----------------------------------------------------------------------------------------------------


def test_a_packed_study_is_named_with_the_remedy(tmp_path, study, capsys):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(study.spec_path, "study/study.yaml")
    subprocess.run(["tar", "-czf", tmp_path / "study.tgz", "-C", study.path, "study.yaml"], check=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "study.yaml").write_bytes(study.spec_path.read_bytes())
    (tmp_path / "half" / "results.zarr.zip").write_bytes((tmp_path / "study.zip").read_bytes())
    for path, words in {
        tmp_path / "study.zip": "zip file, which is not read from: unpack it",
        tmp_path / "study.tgz": "tar file, which is not read from: unpack it",
        tmp_path / "half": "the results are packed in",
        study.results_path: f"but inside of one, {study.path}",
    }.items():
        for command in (["report"], ["validate"], ["render"], ["app", "--port", "0"]):
            assert main([*command, str(path)]) == 2
            assert words in capsys.readouterr().err, (command, path)


# -- read-only studies ------------------------------------------------------------------------------------------------------------------


def writes_below(folder: Path, commands: list[list[str]]) -> tuple[list[int], list[str]]:
    """Exit statuses of commands run by one process, and what it and its children tried to write, make or remove below a folder."""
    hook = """
import os, sys
def hook(event, args, folder=os.environ["WATCHED"], log=os.environ["LOG"], busy=[]):
    if busy or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"):
        return
    path = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes)) else ""
    flags = args[2] if event == "open" else os.O_RDWR
    if os.path.realpath(path).startswith(folder + os.sep) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        busy.append(1)
        with open(log, "a", encoding="utf-8") as handle:
            handle.write(f"{event} {path}\\n")
        busy.clear()
        raise OSError(30, "Read-only file system", path)
sys.addaudithook(hook)
"""
    scratch = folder.parent / "hooks"
    scratch.mkdir(exist_ok=True)
    (scratch / "sitecustomize.py").write_text(hook, encoding="utf-8")
    log = scratch / "log"
    log.write_text("", encoding="utf-8")
    python_path = os.pathsep.join([str(scratch), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": python_path, "WATCHED": str(folder.resolve()), "LOG": str(log)}
    script = "import json, sys; from sslmem_kit.cli import main; print(json.dumps([main(c) for c in json.loads(sys.argv[1])]))"
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), log.read_text(encoding="utf-8").splitlines()


def test_what_reads_writes_nothing_into_a_study_and_render_writes_elsewhere(tmp_path):
    study, out = make_study(tmp_path / "study", samples=120).path, tmp_path / "out"
    commands = [
        ["report", str(study), "--json"],
        ["export", str(study), "--to", str(tmp_path / "scores.csv")],
        ["validate", str(study)],  # which has no weights
        ["render", str(study), "00_quickstart", "tab02_tests", "--out", str(out)],
    ]
    before = sorted(study.rglob("*"))
    status, written = writes_below(study, commands)
    assert (status, written) == ([0, 0, 2, 0], [])
    assert sorted(study.rglob("*")) == before
    assert sorted(path.name for path in (out / "notebooks").iterdir()) == ["00_quickstart.ipynb", "tab02_tests.ipynb"]
    assert {"fig02c.png", "gallery.png", "tab02.png"} <= {path.name for path in (out / "figures").iterdir()}
    status, written = writes_below(study, [["render", str(study), "tab02_tests"]])
    assert status == [2]
    assert written, "the hook works"


def test_the_folder_of_figures_is_given_by_out_alone(tmp_path, study, capsys):
    assert main(["render", str(study.path), "tab02_tests", "-p", "out", "x"]) == 2
    assert "-p out: where notebooks and figures go is given by --out" in capsys.readouterr().err
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["render", str(study.path), "tab02_tests", "--out", str(tmp_path / "file" / "x")]) == 2


# -- layered environments, locales, limits ----------------------------------------------------------------------------------------------


def test_the_users_jupyter_path_stays_behind_the_runners_own(tmp_path, study, own_notebook, monkeypatch):
    own_notebook('study = ""', "import os\nprint(os.environ['JUPYTER_PATH'], os.environ['PYTHONPATH'])")
    (tmp_path / "layer" / "kernels" / "julia").mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", f"{tmp_path / 'layer'}{os.pathsep}/other")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"layer{os.pathsep}")
    (path,) = render(study.path, ["own"], out=tmp_path / "out")
    (output,) = json.loads(path.read_text(encoding="utf-8"))["cells"][-1]["outputs"]
    jupyter, python = "".join(output["text"]).split()
    assert jupyter.split(os.pathsep)[1:] == [str(tmp_path / "layer"), "/other"]
    assert python.split(os.pathsep) == [str(ROOT), str(tmp_path / "layer")]


def sslmem(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "sslmem_kit", *map(str, arguments)],
        env={**plain, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
    )


def test_names_with_umlauts_survive_a_locale_without_them(tmp_path):
    made = make_study(tmp_path / "study", samples=120, classes=("Käse", "Brot", "日本"))
    (tmp_path / "müll").symlink_to(made.path)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = sslmem("report", tmp_path / "müll", "--json", **ascii_only)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["study"] == "study"
    csv = sslmem("export", made.path, "--to", tmp_path / "schön.csv", **ascii_only)
    assert csv.returncode == 0, csv.stderr
    assert "Käse" in (tmp_path / "schön.csv").read_text(encoding="utf-8")
    missing = sslmem("report", tmp_path / "grün", **ascii_only)
    assert (missing.returncode, "grün" in missing.stderr.decode("utf-8")) == (2, True)
    strict = sslmem("report", tmp_path / "grün", PYTHONIOENCODING="ascii")
    assert (strict.returncode, b"Traceback" in strict.stderr) == (2, False), strict.stderr


def test_every_text_file_of_ours_is_opened_with_its_encoding(tmp_path, study):
    """What opens one by the locale's encoding is told by Python itself."""
    told = sslmem("report", study.path, PYTHONWARNDEFAULTENCODING="1")
    told.stderr += sslmem("export", study.path, "--to", tmp_path / "scores.csv", PYTHONWARNDEFAULTENCODING="1").stderr
    told.stderr += sslmem("validate", study.path, PYTHONWARNDEFAULTENCODING="1").stderr
    ours = [line for line in told.stderr.decode().splitlines() if "EncodingWarning" in line and "/sslmem_kit/" in line]
    assert not ours


def test_as_many_files_are_allowed_as_may_be(monkeypatch):
    wanted = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: wanted.append(limits))
    for soft, hard in ((64, 1024), (64, 10**6), (64, resource.RLIM_INFINITY), (64, 64), (5000, 10**6)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limits=(soft, hard): limits)
        paths.allow_files()
    assert wanted == [(1024, 1024), (4096, 10**6), (4096, resource.RLIM_INFINITY)]
    assert "the limit is 5000" in paths.remedy(OSError(24, "Too many open files"))


def test_a_notebook_that_may_open_too_few_files_says_so(tmp_path, study, own_notebook, monkeypatch):
    own_notebook('study = ""', "1")
    monkeypatch.setattr(
        notebooks.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "OSError: Too many open files")
    )
    with pytest.raises(NotebookError, match=r"notebook own: no more files can be opened, the limit is .*ulimit -n 4096"):
        render(study.path, ["own"], out=tmp_path / "out")


@pytest.mark.parametrize("command", ["report", "studies"])
def test_a_reader_that_goes_away_gets_no_traceback(command, study):
    arguments = [str(study.path), "--json"] if command == "report" else []
    line = f'"{sys.executable}" -m sslmem_kit {command} {" ".join(arguments)}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for tail in ("| true", "> /dev/full", ">&-", "| head -1", "2>&- < /dev/null | head -1"):
        done = subprocess.run(f"{line} {tail}", shell=True, env=environment, capture_output=True)
        assert b"Traceback" not in done.stderr, tail
        assert b"Exception ignored" not in done.stderr, tail
