from .counter_rng import CounterRNG, sample_keys
from .make import OPS, make_views, scored_view, several_views

__all__ = [
    "OPS",
    "CounterRNG",
    "make_views",
    "sample_keys",
    "scored_view",
    "several_views",
]
