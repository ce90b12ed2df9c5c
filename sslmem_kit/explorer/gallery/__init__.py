"""The gallery of a selection, and the detail of one sample."""
