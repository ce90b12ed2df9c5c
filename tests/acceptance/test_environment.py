"""environment.yml, pyproject.toml and requirements.lock name the same packages with compatible bounds."""

import os
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*==[A-Za-z0-9.]+", line) for line in lines), (
        "one pinned name a line, no hosts, no paths"
    )
    return dict(line.split("==") for line in lines)


def requirements(lines: list[str]) -> dict[str, str]:
    parsed = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(canonicalize_name(r.name), canonicalize_name(r.name)): str(r.specifier) for r in parsed}


def installed_with_all(project: dict) -> list[str]:
    """What the extra ``all`` installs, beside the package itself."""
    optional = project["optional-dependencies"]
    lines = project["dependencies"] + [
        line for extra in ("train", "mnist", "privacy", "dense", "notebooks") for line in optional[extra]
    ]
    return [line for line in lines if not line.startswith("sslmem_kit[")]


def test_conda_form(conda: dict) -> None:
    assert set(conda) == {"name", "channels", "dependencies"}
    assert conda["name"] == "sslmem_kit"
    assert conda["channels"] == ["conda-forge"]
    *packages, pip = conda["dependencies"]
    assert all(isinstance(line, str) for line in packages)
    assert list(pip) == ["pip"]
    assert "pip" in packages, "conda wants pip named beside a pip section"


def test_conda_names_what_the_project_needs(conda: dict, project: dict) -> None:
    *packages, pip = conda["dependencies"]
    assert pip["pip"][-1] == "-e ."
    listed = requirements([line for line in packages if line != "pip"] + pip["pip"][:-1])
    python = listed.pop("python")
    assert listed == requirements(installed_with_all(project))
    assert str(project["requires-python"]) in python


def test_lock_pins_every_dependency_within_its_bounds(project: dict, lock: dict[str, str]) -> None:
    for line in installed_with_all(project) + project["optional-dependencies"]["dev"]:
        requirement = Requirement(line)
        version = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


@pytest.mark.skipif("CONDA_PREFIX" in os.environ, reason="conda resolves versions of its own within the same bounds")
def test_lock_is_what_is_installed(lock: dict[str, str]) -> None:
    from importlib.metadata import distributions

    installed = {canonicalize_name(d.metadata["Name"]): d.version.split("+")[0] for d in distributions() if d.metadata["Name"]}
    differing = {name: (version, installed.get(name)) for name, version in lock.items() if installed.get(name) != version}
    assert not differing, "the tests run with other versions than the lock names"
