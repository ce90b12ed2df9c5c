"""The explorer: looking at scores in a browser and in notebooks. Reads results stores, writes nothing, imports no torch."""
