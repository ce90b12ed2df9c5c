"""The explorer: scores in a browser and in notebooks. It reads results stores, writes nothing and imports no torch."""
