"""The work of IMPALA and APPO: two runner processes of 8 envs each, one learner beside them in the driver."""

from __future__ import annotations

ENV_ID = "CartPole-v1"
NUM_ENV_RUNNERS = 2
NUM_ENVS = 8
FRAGMENT = 50
TRAIN_BATCH_SIZE = NUM_ENV_RUNNERS * NUM_ENVS * FRAGMENT
HIDDENS = (64, 64)
