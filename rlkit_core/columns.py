"""Names of the columns of a batch and of the identifiers every part shares."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_AGENT_ID: Final = "default_agent"
DEFAULT_MODULE_ID: Final = "default_policy"
DEFAULT_POLICY_ID: Final = DEFAULT_MODULE_ID
ALL_MODULES: Final = "__all_modules__"
DEFAULT_OPTIMIZER: Final = "default_optimizer"

COMPONENT_ENV_RUNNER: Final = "env_runner"
COMPONENT_EVAL_ENV_RUNNER: Final = "eval_env_runner"
COMPONENT_LEARNER_GROUP: Final = "learner_group"
COMPONENT_LEARNER: Final = "learner"
COMPONENT_RL_MODULE: Final = "rl_module"
COMPONENT_OPTIMIZER: Final = "optimizer"
COMPONENT_METRICS_LOGGER: Final = "metrics_logger"

_NOT_IN_MODULE_IDS: Final = '<>:"/\\|?'
_MODULE_ID: Final = re.compile(rf"[^{re.escape(_NOT_IN_MODULE_IDS)}]*[^{re.escape(_NOT_IN_MODULE_IDS)}. ]\Z")


def module_id_problem(module_id: object) -> str | None:
    """Say why a value cannot be the id of a module, which names a directory of a checkpoint; None if it can."""
    if isinstance(module_id, str) and _MODULE_ID.match(module_id):
        return None
    return (
        f"{module_id!r} is no module id: expected a non-empty str without any of {' '.join(_NOT_IN_MODULE_IDS)} that "
        "does not end in a dot or a space (ids become directory names)"
    )


class Columns:
    """Keys of a training or acting batch.

    ``B`` is the batch axis, ``T`` time. Rollouts are time-major ``[T, N, ...]``; modules see ``(B, ...)``, or
    ``(B, T, ...)`` when recurrent.
    """

    OBS: Final = "obs"
    INFOS: Final = "infos"
    ACTIONS: Final = "actions"
    ACTIONS_FOR_ENV: Final = "actions_for_env"
    REWARDS: Final = "rewards"
    TERMINATEDS: Final = "terminateds"
    TRUNCATEDS: Final = "truncateds"
    NEXT_OBS: Final = "new_obs"
    EPS_ID: Final = "eps_id"
    AGENT_ID: Final = "agent_id"
    MODULE_ID: Final = "module_id"
    SEQ_LENS: Final = "seq_lens"
    T: Final = "t"

    STATE_IN: Final = "state_in"
    NEXT_STATE_IN: Final = "next_state_in"
    STATE_OUT: Final = "state_out"
    NEXT_STATE_OUT: Final = "next_state_out"
    EMBEDDINGS: Final = "embeddings"

    ACTION_DIST: Final = "action_dist"
    ACTION_DIST_INPUTS: Final = "action_dist_inputs"
    ACTION_PROB: Final = "action_prob"
    ACTION_LOGP: Final = "action_logp"

    VF_PREDS: Final = "vf_preds"
    VALUES_BOOTSTRAPPED: Final = "values_bootstrapped"
    ADVANTAGES: Final = "advantages"
    VALUE_TARGETS: Final = "value_targets"
    INTRINSIC_REWARDS: Final = "intrinsic_rewards"
    RETURNS_TO_GO: Final = "returns_to_go"
    LOSS_MASK: Final = "loss_mask"
    ACTION_MASK: Final = "action_mask"
    ENV_STATE: Final = "env_state"


ENCODER_OUT: Final = "encoder_out"
ACTOR: Final = "actor"
CRITIC: Final = "critic"
