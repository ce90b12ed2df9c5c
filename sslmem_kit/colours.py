"""Colours that pages and figures share; here and not with the figures, for a page must not wait for matplotlib to be imported."""

COLOURS = {"shared": "#009E73", "candidate": "#D55E00", "independent": "#0072B2", "extra": "#CC79A7"}
"""Of the partitions, from the Okabe-Ito palette, which stays apart for colour-blind readers."""
