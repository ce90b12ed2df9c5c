"""An encoder: backbone and stem, layers, weights, device and precision. Imports torch."""
