"""Comparisons: other scores beside memorization, one file each."""
