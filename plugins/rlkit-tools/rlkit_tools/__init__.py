"""Commands around runs: ``rlkit export``."""
