"""What tests share: made-up studies, small objectives, browsers, servers and ways to damage and kill."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Folder of the checkout."""
