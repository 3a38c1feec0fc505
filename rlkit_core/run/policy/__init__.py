"""What a run has learned, to act with."""
