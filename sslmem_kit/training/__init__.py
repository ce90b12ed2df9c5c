"""Training of encoders: objectives, the loop, its checkpoints, and trainings that are shared by several devices. Imports torch."""
