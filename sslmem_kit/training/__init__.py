"""From an encoder to a trained one: objectives, the loop, its checkpoints, and trainings that are shared by several devices. Imports torch."""
