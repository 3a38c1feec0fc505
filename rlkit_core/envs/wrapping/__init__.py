"""Wrappers that a config names: how they are written, found, put around envs, and what they leave to be counted."""
