"""The work of SAC: one env, an update of 256 transitions after every step, 256-256 networks."""

from __future__ import annotations

ENV_ID = "Pendulum-v1"
CAPACITY = 100_000
LEARNING_STARTS = 200
BATCH_SIZE = 256
HIDDENS = (256, 256)
LEARNING_RATE = 3e-4
GAMMA = 0.99
TAU = 0.005
