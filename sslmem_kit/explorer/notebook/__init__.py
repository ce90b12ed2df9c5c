"""In notebooks: how the explorer is displayed there, the monitor of a running study, and small pickers."""
