"""Envs stepped by gymnasium's vector classes, or by an env's own."""
