"""``rlkit export``: a trained policy as one graph that runs without rlkit."""
