"""The work of DQN: one env, an update of 64 transitions after every 4 steps, 64-64 networks."""

from __future__ import annotations

ENV_ID = "CartPole-v1"
CAPACITY = 50_000
LEARNING_STARTS = 1_000
TRAIN_EVERY = 4
BATCH_SIZE = 64
HIDDENS = (64, 64)
LEARNING_RATE = 2.5e-4
GAMMA = 0.99
TARGET_EVERY = 500
EPSILON = (1.0, 0.05)
EPSILON_STEPS = 10_000
