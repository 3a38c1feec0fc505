"""A run: its folder, its logs, its checkpoints, its progress, and how it goes on."""
