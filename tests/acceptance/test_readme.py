"""Every code block of README.md and docs/ is executed as it stands: each section in a folder of its own, in the order of its blocks.

Python blocks run, lines of shell blocks go through the command line, YAML blocks through the specs (and are the files that the commands of
their section name). Trainings are cut to an epoch of one pair. What is not run stands in ``NOT_RUN`` with the reason; of it, commands are
still parsed and Python compiled.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
import yaml
from PIL import Image

from sslmem_kit import cli
from sslmem_kit.spec import loading, removal_tree
from sslmem_kit.spec.audit import is_audit, parse_audit
from sslmem_kit.spec.frontier import parse_frontier
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.presets import listing  # noqa: F401 (its load_any is to be the real one, not what short_studies puts there)
from sslmem_kit.spec.removal_tree import parse_tree
from sslmem_kit.spec.study import StudySpec
from tests.support import ROOT
from tests.support.fake_study import make_study, workers_in_this_process

FILES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))

NOT_RUN = {
    r"make (demo|test)\b.*": "installs 7 GB; no test does so",
    r"(\.venv/bin/)?jupyter lab .*": "serves JupyterLab; tests/explorer/test_lab_browser.py drives it",
    r"sslmem run paper/.*": "trains on GPUs for hours",
    r"sslmem render \S+( reliability| layers| fig04_regularizer| --html)+.*": "starts kernels; tests/report/test_notebooks.py renders",
    r"for encoder in .*": "trains on GPUs for hours",
    r"for name in .*": "trains three studies for minutes",
    r"sslmem export STUDY --to groups.csv .*": "needs a study with groups; tests/report/test_duplicates.py exports them",
    r"sslmem dense .*": "fine-tunes for minutes; tests/run/test_dense.py does so in small",
    r"sslmem (compare \S+ .*|report \S+ --compare)": "measures trained encoders, or reports it; tests/run/test_comparisons.py",
    r"sslmem run twins(-apart)?": "trains hundreds of encoders",
    r"python benchmarks/(twins|order|order_trainings)\.py .*": "needs hundreds of trained encoders, or trains them",
}
"""Lines of shell blocks, as patterns, and why they are not run."""
NOT_RUN_PYTHON = {
    "from torchvision.datasets import STL10": "downloads 2.6 GB",
    "from transformers import": "needs a package that is none of ours",
}
"""Python blocks, by what stands in them."""

STAND_INS = {
    "STUDY...": "papermill_runs/digits", "STUDY": "papermill_runs/digits", "SPEC": "digits", "folder:PATH": "folder:photos", "NAME": "digits",
}  # fmt: skip
"""What a reader puts in place of the words in capitals."""
PROMPTS = (
    "sslmem",
    ".venv/bin/sslmem",
    ".venv/bin/jupyter",
    "make",
    "conda",
    "cd",
    "python",
    "torchrun",
    "srun",
    "for",
    "pip",
    "jupyter",
)
"""What lines of shell blocks begin with; other blocks without a language are text."""
PRELUDE = """
import numpy as np
from sslmem_kit.views.features import perturbed
values = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
encoder_f, encoder_g = (lambda batch: batch * 2), (lambda batch: batch**3)
ids_f, ids_g = np.arange(16), np.arange(8, 24)
encoders, data, view, trained_on = {"f": encoder_f, "g": encoder_g}, values, perturbed, {"f": ids_f, "g": ids_g}
"""
"""What Python blocks take for granted: encoders and data of the reader's own."""


class Block(NamedTuple):
    file: str
    line: int
    section: str
    language: str
    text: str


def blocks(file: str) -> list[Block]:
    """The fenced blocks of a file, with the heading that they stand under."""
    found, section, start = [], "", None
    for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if start is None:
                start, language, held = number, line[3:].strip(), []
            else:
                text = "\n".join(held)
                language = language or ("sh" if text.split(maxsplit=1)[0] in PROMPTS else "text")
                found.append(Block(file, start, section, language, text))
                start = None
        elif start is not None:
            held.append(line)
        elif line.startswith("#"):
            section = line.strip("# ")
    assert start is None, f"{file}: the block at line {start} does not end"
    return found


ALL = [block for file in FILES for block in blocks(file)]
SECTIONS = sorted({(block.file, block.section) for block in ALL}, key=[(block.file, block.section) for block in ALL].index)


def commands(text: str) -> list[str]:
    """Lines of a shell block without comments, those that go on and loops joined."""
    text = re.sub(r"\n(?=    )|\n(?=done)", " ", text)
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in text.splitlines()]
    return [part for line in lines if line for part in ([line] if line.startswith("for ") else line.split(" && "))]


def reason(line: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, line)), None)


def test_there_are_blocks_and_every_one_is_of_a_known_kind() -> None:
    assert len(ALL) > 30
    assert {block.language for block in ALL} == {"sh", "python", "yaml", "text", "mermaid"}
    for block in ALL:
        hidden = [line for line in block.text.splitlines() if block.language == "text" and line.startswith(PROMPTS[:2])]
        assert not hidden, f"{block.file}:{block.line}: commands in a block that is taken for text"


def test_every_reason_is_needed() -> None:
    lines = [line for block in ALL if block.language == "sh" for line in commands(block.text)]
    unused = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, line) for line in lines)]
    assert not unused


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has: studies, photographs, checkpoints and lists, a removal split."""
    folder = tmp_path_factory.mktemp("reader")
    make_study(folder / "papermill_runs" / "digits", samples=120, seeds=2, views=3)
    rng = np.random.default_rng(0)
    for number in range(48):
        place = folder / "photos" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(place)
    np.savez(folder / "mine.npz", images=rng.integers(0, 256, (40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    _write_checkpoints(folder)
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    return folder


def _write_checkpoints(folder: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    for name, seen in (("f0", range(0, 32)), ("g0", range(16, 48))):
        torch.manual_seed(seen.start)
        state = timm.create_model("resnet18").state_dict()
        if name == "f0":
            save_file(state, folder / "f0.safetensors")
        for prefix, file in (("module.", "README.md"), ("module.encoder_q.", "audit.md")):
            if name == "g0":
                torch.save({prefix + key: value for key, value in state.items()}, folder / f"g0.pth of {file}")
        (folder / f"{name}.csv").write_text("sample\n" + "\n".join(map(str, seen)) + "\n")


def short(spec: StudySpec) -> StudySpec:
    """The spec with an epoch of one pair, and as little beside it as there can be."""
    training = {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "record_every": 0}
    design = {}
    if spec.design.subsets:
        design = {"subsets": {"folds": 2, "repeats": 1}, "leave_one_out": {"samples": 5, "seeds": 2}}
    content = spec.as_dict()
    for section, values in (("training", training), ("scoring", {"views": 2}), ("design", design)):
        content[section] = {**content[section], **values}
    return parse_spec(content, where="short")


class Reader:
    """Does what a section says, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.several = ""
        """Name of a tree or a frontier, whose many encoders are not trained here: tests/run does so in small."""

    def do(self, block: Block) -> None:
        try:
            getattr(self, f"_{block.language}")(block.text)
        except BaseException as error:
            error.add_note(f"{block.file}:{block.line}")
            raise

    def _text(self, text: str) -> None:
        """Nothing is to be done."""

    _mermaid = _text

    def _python(self, text: str) -> None:
        code = compile(text, "block", "exec")
        if any(words in text for words in NOT_RUN_PYTHON):
            return
        exec(code, {**{"__name__": "__main__"}, **self._given()})

    def _given(self) -> dict:
        given: dict = {}
        exec(PRELUDE, given)
        return given

    def _yaml(self, text: str) -> None:
        loaded = yaml.safe_load(text)
        if "scores_of" in loaded or "arms" in loaded:
            self.several = loaded["name"]
            if "arms" in loaded:
                parse_frontier(loaded, where="block", base=self.folder)
            else:
                parse_tree(loaded, where="block").resolved(self.folder)
            return
        for line in re.findall(r"^# (\w+: .*)$", text, re.MULTILINE):  # alternatives
            self._check(loaded | yaml.safe_load(line))
        self._check(loaded)
        if "name" in loaded:
            name = "audit" if is_audit(loaded) else loaded["name"]
            (self.folder / f"{name}.yaml").write_text(text)

    def _check(self, loaded: dict) -> None:
        whole = {"name": "mine", **({} if "source" in loaded else {"data": {"name": "digits"}}), **loaded}
        if "objective" in loaded:
            whole.setdefault("training", {"epochs": 600})  # a regularizer begins after some
        (parse_audit if is_audit(whole) else parse_spec)(whole, where="block")

    def _sh(self, text: str) -> None:
        for line in commands(text):
            command = re.sub(r"\s*\[(--\w+)\]", r" \1", line)  # what may be left out
            for word, meant in STAND_INS.items():
                command = re.sub(rf"(?<![\w./:]){re.escape(word)}(?![\w./])", meant, command)
            command, _, written = command.partition(" > ")
            first, *arguments = shlex.split(command)
            if first.endswith("sslmem"):
                self._sslmem(arguments, skipped=reason(line), written=written)
            elif reason(line):
                continue
            elif first == "cd":
                self.folder = self.folder / arguments[0]
                os.chdir(self.folder)
            elif first == "python":
                subprocess.run([sys.executable, *arguments], env=environment(), cwd=self.folder, check=True, timeout=300)
            else:
                raise AssertionError(f"no way to run, and no reason not to: {line}")

    def _sslmem(self, arguments: list[str], *, skipped: str | None, written: str) -> None:
        if skipped or (self.several and any(Path(word).stem == self.several for word in arguments)):
            parse(arguments)
        elif arguments[0] == "app":
            self._serve(arguments)
        elif arguments[:2] == ["app-user", "add"]:
            subprocess.run(
                [sys.executable, "-m", "sslmem_kit", *arguments, "--password-stdin"],
                input="long enough\n", text=True, env=environment(), cwd=self.folder, check=True, timeout=120,
            )  # fmt: skip
        else:
            if arguments[0] == "run" and "--out" not in arguments:
                # Where a study is that was made up, the reader makes it now.
                shutil.rmtree(self.folder / "papermill_runs" / arguments[1].replace("/", "-"), ignore_errors=True)
            with open(self.folder / (written or "said.txt"), "w") as file, redirect_stdout(file):
                assert cli.main(arguments) == 0, arguments

    def _serve(self, arguments: list[str]) -> None:
        """Start what serves, and stop it when it says where."""
        process = subprocess.Popen(
            [sys.executable, "-m", "sslmem_kit", *arguments, "--port", "0"],
            env=environment(), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if line.startswith("explorer: http"):
                    return
        finally:
            process.terminate()
            process.communicate(timeout=60)
        raise AssertionError("".join(said))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def parse(arguments: list[str]) -> None:
    """Let the command line parse a command that is not run."""
    command: click.Command = cli.app
    while isinstance(command, click.Group):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(command.name, list(arguments))


@contextmanager
def short_studies() -> Iterator[None]:
    real, any_kind = loading.load_spec, removal_tree.load_any

    def load(*given: object, **options: object) -> StudySpec:
        return short(real(*given, **options))

    def load_any(*given: object, **options: object) -> Any:
        loaded = any_kind(*given, **options)
        return short(loaded) if isinstance(loaded, StudySpec) else loaded

    with pytest.MonkeyPatch.context() as patch, workers_in_this_process():
        for package in ("sslmem_kit", "sslmem_kit.spec", "sslmem_kit.spec.loading"):
            patch.setattr(f"{package}.load_spec", load)
        patch.setattr("sslmem_kit.spec.removal_tree.load_any", load_any)
        yield


@pytest.mark.parametrize(("file", "section"), SECTIONS, ids=[f"{file}: {section}" for file, section in SECTIONS])
def test_the_blocks_of_a_section_do_what_they_say(
    file: str, section: str, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(things, folder, copy_function=_copy)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    np.savez(folder / "digits-split.npz", sample=_candidates()[:5])
    _copy(folder / f"g0.pth of {'README.md' if file == 'README.md' else 'audit.md'}", folder / "g0.pth")
    audit = next(block.text for block in ALL if block.file == "docs/audit.md" and "# audit.yaml" in block.text)
    (folder / "audit.yaml").write_text(audit)  # where a section tells of it before it shows it
    reader = Reader(folder)
    with short_studies():
        for block in ALL:
            if (block.file, block.section) == (file, section):
                reader.do(block)


def _copy(source: str | Path, to: str | Path) -> None:
    """Copies a file, or links it where it is an encoder, which nothing writes to: 25 sections would copy 180 MB each."""
    (os.link if "0.pth" in Path(source).name or Path(source).suffix == ".safetensors" else shutil.copy2)(source, to)


def _candidates() -> np.ndarray:
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.names import PARTITION_CODE
    from sslmem_kit.spec.loading import load_spec

    samples = load_samples(load_spec("digits"))
    return samples.dataset.ids[samples.codes == PARTITION_CODE["candidate"]]
