"""Running a study or an audit: plans, workers and schedulers, from the spec to a complete results store."""
