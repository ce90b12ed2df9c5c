"""Processes that do the work: a pool on this machine, or ranks that share each encoder."""
