"""The scatter: its figure, the points or the raster that it shows, and the overlay that takes mouse and keys."""
