"""Measurements of an encoder: alignment, features, units, collapse and downstream tasks. Imports torch."""
