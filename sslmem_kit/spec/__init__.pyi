from .audit import AuditSpec, load_audit
from .data import DataSpec
from .loading import load_spec, parse_spec
from .places import bundled_specs
from .policy import Policy
from .study import StudySpec

__all__ = [
    "AuditSpec",
    "DataSpec",
    "Policy",
    "StudySpec",
    "bundled_specs",
    "load_audit",
    "load_spec",
    "parse_spec",
]
