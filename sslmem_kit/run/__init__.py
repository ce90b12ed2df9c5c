"""Who does it: plans, workers and schedulers of a study or an audit, from the spec to a complete results store."""
