"""What representations are good for: probes of frozen, pooled representations, and whether they have collapsed.

`linear` and `knn` answer with the accuracy of a classifier, on the study's own data and on the further data sets of `tasks`; `spread`
measures how far apart and in how many directions representations lie, without labels.
"""
