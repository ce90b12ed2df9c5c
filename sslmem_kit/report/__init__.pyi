from .build import build_report
from .layers import localized
from .notebook_catalog import check_parameters
from .text import as_text

__all__ = [
    "as_text",
    "build_report",
    "check_parameters",
    "localized",
]
