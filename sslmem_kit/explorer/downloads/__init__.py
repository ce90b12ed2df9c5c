"""What a person takes away: selections, figures, and the link."""
