"""Widgets for notebooks: display of the explorer, the monitor of a running study, and small pickers."""
