"""Probes of frozen, pooled representations.

`linear` and `knn` return the accuracy of a classifier, on the study's own data and on the further data sets of `tasks`.
"""
