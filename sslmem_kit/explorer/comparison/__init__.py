"""Comparison of two sides: the sides that studies offer, matching of their samples, and the panels that show the result."""
