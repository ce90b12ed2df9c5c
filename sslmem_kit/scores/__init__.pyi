from .adjusted import adjusted_leave_out
from .estimators import DESIGN_OF, estimate, seeds_of
from .intervals import CONFIDENCE
from .protocols import PROTOCOLS, select_protocol, usable_protocols, view_weights
from .selection import of_pairs, pair_positions
from .sslmem import family_contrast, leave_out, normalize_range, score

__all__ = [
    "CONFIDENCE",
    "DESIGN_OF",
    "PROTOCOLS",
    "adjusted_leave_out",
    "estimate",
    "family_contrast",
    "leave_out",
    "normalize_range",
    "of_pairs",
    "pair_positions",
    "score",
    "seeds_of",
    "select_protocol",
    "usable_protocols",
    "view_weights",
]
