"""The names of dimensions, variables and partitions: the only place where they are spelled."""

SAMPLE, AUGMENTATION, ENCODER, EPOCH, VIEW = "sample", "augmentation", "encoder", "epoch", "view"
SEED = "seed"
LAYER, UNIT, CHANNEL = "layer", "unit", "channel"
PARTITION, ALTERNATIVE, STATISTIC, ESTIMATOR, QUANTILE = "partition", "alternative", "statistic", "estimator", "quantile"
BOUND, BOUNDS = "bound", ("low", "high")
"""Dimension of the two ends of an interval, and its coordinates."""
FILE = "file"
"""Coordinate on ``sample``: path of the image file below the folder of the data, with ``/``; absent where samples have none."""
GROUP = "group"
"""Coordinate on ``sample``: id of the first member of the group that a sample belongs to by ``data.groups``; absent without it."""
PLANTED, PLANTED_OF = "planted", "planted_of"
"""Coordinates on ``sample``: kind of a planted sample by ``data.plant`` (CF ``flag_meanings``), and the id that a duplicate copies; absent
without it."""
PLANTED_KINDS = ("clean", "duplicate", "mislabelled", "out_of_distribution", "noisy", "original")
"""Meanings of the codes 0..5 of ``planted``; an original is one that a duplicate copies."""
PLANTED_CODE = {name: code for code, name in enumerate(PLANTED_KINDS)}
ALIGNMENT, TRAINED_ON, SSLMEM = "alignment", "trained_on", "sslmem"

PARTITIONS = ("shared", "candidate", "independent", "extra")
"""Meanings of the partition codes 0..3 (CF ``flag_meanings``): S_S, S_C, S_I and S_E of the paper."""
PARTITION_CODE = {name: code for code, name in enumerate(PARTITIONS)}

FAMILIES = ("f", "g")
"""Family f saw the shared samples and the candidates, family g the shared and the independent ones."""

MODE, ONE_MODEL = "mode", "one model"
"""Attribute of a store that an audit has made, and its value where there are no memorization scores."""

COMPARED_ANYWAY = "compared_anyway"
"""Attribute of an audit's store: a JSON list of sentences on how encoders that are compared read samples differently."""

RUNS = "papermill_runs"
"""Folder of the studies that are run without ``--out``."""


COLOURS = {"shared": "#009E73", "candidate": "#D55E00", "independent": "#0072B2", "extra": "#CC79A7"}
"""Colours of the partitions, from the Okabe-Ito palette, which stays apart for colour-blind readers."""

PAIR, SUBSET = "pair", "subset"
"""Modes of an audit beside ``ONE_MODEL``, by what its encoders allow: scores of f against g, or by ``trained_on`` alone."""

VIEW_WITH_VIEW = 2 / 3
"""Share of the pairs of random views in a mean over all pairs; the rest is of the clean image with each view. It is their share among the
pairs of five views, the paper's number, and the same at any number: what is measured does not depend on how many views measure it."""

PAIRS_OF_VIEWS = "pairs_of_views"
"""Attribute that says how both kinds of pairs were weighed in what is stored as a mean over them."""
FIXED_WEIGHTS = "clean with view 1/3, view with view 2/3"
"""Its value; earlier versions, which have no such attribute, weighed all pairs alike, as 1/3 and 2/3 with five views alone."""
ALIKE = 5
"""Number of views at which both are the same."""

COMPARISONS = (
    "dejavu", "supervised", "membership", "partcrop", "privacy", "gradients", "curvature", "typicality", "learning", "alignment_only",
)  # fmt: skip
"""Names of the comparisons: other scores that are measured beside SSLMem."""
