"""The scatter: its figure, what it draws points or a picture from, and the stage that takes mouse and keys."""
