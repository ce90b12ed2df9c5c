"""Probes of frozen, pooled representations, and dense tasks, for which encoders are fine-tuned.

`probes` returns what the linear, nearest-neighbour and nearest-centroid classifiers predict of test samples; `tasks` loads further data sets.
"""
