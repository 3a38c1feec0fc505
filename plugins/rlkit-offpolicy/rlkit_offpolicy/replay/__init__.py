"""Replay buffers: rollouts in rings, rows and sequences sampled from them, priorities in a sum tree."""
