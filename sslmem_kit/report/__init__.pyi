from .build import build_report
from .text import as_text

__all__ = [
    "as_text",
    "build_report",
]
