"""Measurements of speed, memory and calibration; run one by its path, ``python benchmarks/scoring.py``."""
