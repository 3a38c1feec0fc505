"""Commands around runs: ``rlkit export``, ``rlkit compare``."""
