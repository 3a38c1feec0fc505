"""Going on with a run, or with its weights, and proving that it repeats."""
