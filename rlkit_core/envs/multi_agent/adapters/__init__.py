"""Kinds of multi-agent envs, each behind the protocol that the runner knows."""
