from .adjusted import adjusted_leave_out
from .estimators import DESIGN_OF, estimate, seeds_of
from .groups import group_influence, influence_by_cut
from .intervals import CONFIDENCE
from .protocols import PROTOCOLS, default_protocol, mean_over_pairs, pair_noise, select_protocol, usable_protocols, view_weights
from .selection import of_pairs, of_scores, pair_positions, scored_positions, whole_seeds
from .sslmem import by_seed, family_contrast, leave_out, normalize_range, score, score_stored

__all__ = [
    "CONFIDENCE",
    "DESIGN_OF",
    "PROTOCOLS",
    "adjusted_leave_out",
    "by_seed",
    "default_protocol",
    "estimate",
    "family_contrast",
    "group_influence",
    "influence_by_cut",
    "leave_out",
    "mean_over_pairs",
    "normalize_range",
    "of_pairs",
    "of_scores",
    "pair_noise",
    "pair_positions",
    "score",
    "score_stored",
    "scored_positions",
    "seeds_of",
    "select_protocol",
    "usable_protocols",
    "view_weights",
    "whole_seeds",
]
