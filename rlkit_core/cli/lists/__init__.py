"""Commands that list what there is to begin with: environments, presets."""
