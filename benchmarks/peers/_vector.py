"""The work on an env that steps as arrays: 1,024 CartPoles x 32 steps, minibatches of 8,192 rows."""

from __future__ import annotations

NUM_ENVS = 1_024
NUM_STEPS = 32
MINIBATCH_SIZE = 8_192
ROLLOUT = NUM_ENVS * NUM_STEPS
