"""The threshold: its slider, the shares above it, and the distributions of the scores."""
