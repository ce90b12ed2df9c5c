"""Print the lowest versions that pyproject.toml allows of what a reader needs, as arguments of pip: ``python -m tests.support.floors``."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement

from tests.support import ROOT


def floors() -> list[str]:
    """Return ``name==lowest`` of every package of the base."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [f"{r.name}=={lowest(r)}" for r in map(Requirement, project["dependencies"])]


def lowest(requirement: Requirement) -> str:
    """Return the version of a requirement's ``>=``."""
    return next(bound.version for bound in requirement.specifier if bound.operator == ">=")


if __name__ == "__main__":
    print(*floors())
