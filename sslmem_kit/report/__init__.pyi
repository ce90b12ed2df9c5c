from .build import build_report
from .comparisons.agreement import agreement_as_text
from .comparisons.planted import planted_as_text
from .layers import localized
from .notebook_catalog import check_parameters
from .text import as_text

__all__ = [
    "agreement_as_text",
    "as_text",
    "build_report",
    "check_parameters",
    "localized",
    "planted_as_text",
]
