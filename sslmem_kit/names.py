"""The names of dimensions, variables and partitions: the only place where they are spelled."""

SAMPLE, AUGMENTATION, ENCODER, EPOCH, VIEW = "sample", "augmentation", "encoder", "epoch", "view"
LAYER, UNIT, CHANNEL = "layer", "unit", "channel"
PARTITION, ALTERNATIVE, STATISTIC, ESTIMATOR, QUANTILE = "partition", "alternative", "statistic", "estimator", "quantile"
BOUND, BOUNDS = "bound", ("low", "high")
"""Dimension of the two ends of an interval, and its coordinates."""
FILE = "file"
"""Coordinate on ``sample``: path of the image file below the folder of the data, with ``/``; absent where samples have none."""
GROUP = "group"
"""Coordinate on ``sample``: id of the first member of the group that a sample belongs to by ``data.groups``; absent without it."""
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
