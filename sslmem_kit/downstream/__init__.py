"""What representations are good for: downstream tasks and their probes."""
