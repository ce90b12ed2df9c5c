"""The study: its spec and its directory."""

from sslmem_kit.study.folder import Study, create_or_resume, open_study
from sslmem_kit.study.spec import StudySpec, bundled_specs, load_spec

__all__ = ["Study", "StudySpec", "bundled_specs", "create_or_resume", "load_spec", "open_study"]
