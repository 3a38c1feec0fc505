"""Keys of what ``train()`` returns, under RLlib's names; all of them are exported by ``rlkit_core``."""

from __future__ import annotations

from typing import Final

ENV_RUNNER_RESULTS: Final = "env_runners"
EVALUATION_RESULTS: Final = "evaluation"
FAULT_TOLERANCE_STATS: Final = "fault_tolerance"
LEARNER_RESULTS: Final = "learners"
TIMERS: Final = "timers"
STOPPED_BY: Final = "stopped_by"
TRAINING_ITERATION: Final = "training_iteration"
NUM_TRAINING_STEP_CALLS_PER_ITERATION: Final = "num_training_step_calls_per_iteration"

AGENT_EPISODE_RETURNS_MEAN: Final = "agent_episode_returns_mean"
EPISODE_DURATION_SEC_MEAN: Final = "episode_duration_sec_mean"
EPISODE_LEN_MAX: Final = "episode_len_max"
EPISODE_LEN_MEAN: Final = "episode_len_mean"
EPISODE_LEN_MIN: Final = "episode_len_min"
EPISODE_RETURN_MAX: Final = "episode_return_max"
EPISODE_RETURN_MEAN: Final = "episode_return_mean"
EPISODE_RETURN_MIN: Final = "episode_return_min"
IS_SUCCESS_MEAN: Final = "is_success_mean"
MODULE_EPISODE_RETURNS_MEAN: Final = "module_episode_returns_mean"
NUM_ENV_STEPS_SAMPLED: Final = "num_env_steps_sampled"
NUM_ENV_STEPS_SAMPLED_LIFETIME: Final = "num_env_steps_sampled_lifetime"
NUM_EPISODES: Final = "num_episodes"
NUM_EPISODES_CUT: Final = "num_episodes_cut"
NUM_EPISODES_FAILED: Final = "num_episodes_failed"
NUM_EPISODES_LIFETIME: Final = "num_episodes_lifetime"
WEIGHTS_SEQ_NO: Final = "weights_seq_no"

NUM_MODULE_STEPS_TRAINED: Final = "num_module_steps_trained"
NUM_MODULE_STEPS_TRAINED_LIFETIME: Final = "num_module_steps_trained_lifetime"
NUM_NON_TRAINABLE_PARAMETERS: Final = "num_non_trainable_parameters"
NUM_TRAINABLE_PARAMETERS: Final = "num_trainable_parameters"
