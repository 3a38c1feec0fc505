"""Settings that off-policy algorithms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from rlkit_core import AlgorithmConfig
from rlkit_core.settings import boolean, integer, number, one_of, optional, redeclare, schedule, setting
from rlkit_offpolicy.warmup import RANDOM_STEPS

#: Names of replay buffers that are accepted, and what each stands for.
BUFFER_TYPES = {
    "prioritized": "prioritized",
    "uniform": "uniform",
    "PrioritizedReplayBuffer": "prioritized",
    "ReplayBuffer": "uniform",
    "PrioritizedEpisodeReplayBuffer": "prioritized",
    "EpisodeReplayBuffer": "uniform",
    "MultiAgentPrioritizedEpisodeReplayBuffer": "prioritized",
    "MultiAgentEpisodeReplayBuffer": "uniform",
}


def n_steps(value: int | Sequence[int]) -> int | list[int]:
    """A whole number, or ``[lowest, highest]``, both possible.

    Raises:
        ValueError: something else.
    """
    one = integer(ge=1)
    if not isinstance(value, list | tuple):
        return int(one(value))
    if len(value) != 2 or one(value[0]) > one(value[1]):
        raise ValueError("expected a whole number >= 1, or [lowest, highest] with lowest <= highest")
    return [int(value[0]), int(value[1])]


def _replay_buffer(defaults: Mapping[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """What makes a complete replay buffer config of a given one: ``defaults`` where a key is missing."""

    def complete(value: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a dict with some of {', '.join(defaults)}")
        unknown = [key for key in value if key not in defaults]
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}; expected some of {', '.join(defaults)}")
        given = {**defaults, **value}
        if not isinstance(given["type"], str) or given["type"] not in BUFFER_TYPES:
            raise ValueError(f"type {given['type']!r}: expected one of {', '.join(BUFFER_TYPES)}")
        kind = BUFFER_TYPES[given["type"]]
        useless = [key for key in ("alpha", "beta") if key in value and kind == "uniform"]
        if useless:
            raise ValueError(f"{useless[0]} belongs to type 'prioritized'; a uniform buffer has no use for it")
        checks = {"capacity": integer(ge=1), "alpha": number(ge=0, le=1), "beta": schedule(ge=0, le=1)}
        checked = {"type": kind}
        for key, check in checks.items():
            if kind == "uniform" and key != "capacity":
                continue
            try:
                checked[key] = check(given[key])
            except (ValueError, TypeError) as error:
                raise ValueError(f"{key}={given[key]!r}: {error}") from None
        return checked

    return complete


def replay_buffer_setting(
    type: str = "prioritized", capacity: int = 50_000, alpha: float = 0.6, beta: float = 0.4
) -> Any:
    """The setting ``replay_buffer_config`` with other values where a key is not given, for a subclass of
    :class:`OffPolicyConfig`::

        replay_buffer_config: dict[str, Any] = replay_buffer_setting("uniform", capacity=1_000_000)

    Args:
        type: ``"prioritized"`` or ``"uniform"``.
        capacity: env steps.
        alpha: how much priorities count.
        beta: exponent of the importance weights.
    """
    defaults = {"type": type, "capacity": capacity, "alpha": alpha, "beta": beta}
    kept = ("type", "capacity") if BUFFER_TYPES[type] == "uniform" else tuple(defaults)
    return setting(
        {key: defaults[key] for key in kept},
        section="training",
        help="A dict of 'type' ('prioritized' or 'uniform'), 'capacity' (env steps), 'alpha', 'beta' (or a schedule).",
        converter=_replay_buffer(defaults),
    )


@attrs.define(slots=False)
class OffPolicyConfig(AlgorithmConfig):
    """What algorithms that learn from replay buffers have in common; names and meanings are RLlib's.

    An algorithm subclasses it, gives defaults of its own with ``redeclare`` (:func:`replay_buffer_setting` for the
    buffer's) and names its ``algo_class``, :class:`~rlkit_offpolicy.OffPolicyAlgorithm` or a subclass.
    """

    shared_settings = frozenset({"num_steps_sampled_before_learning_starts", "training_intensity"})

    min_sample_timesteps_per_iteration: int = redeclare(AlgorithmConfig, "min_sample_timesteps_per_iteration", 1000)
    replay_buffer_config: dict[str, Any] = replay_buffer_setting()
    n_step: int | list[int] = setting(
        1,
        section="training",
        help="Rewards summed before bootstrapping; [lowest, highest] draws a number for each row.",
        converter=n_steps,
    )
    training_intensity: float | None = setting(
        section="training",
        help="Rows trained on per sampled env step; None: one update per round of sampling.",
        converter=optional(number(gt=0)),
    )
    num_steps_sampled_before_learning_starts: int = setting(
        1000,
        section="training",
        help="Env steps in the buffer before the first update.",
        converter=integer(ge=0),
    )
    warmup: str = setting(
        "explore",
        section="training",
        help="Acting before learning starts: 'explore' as afterwards, or 'random', uniformly over the action space.",
        converter=one_of("explore", "random"),
    )
    target_network_update_freq: int = setting(
        500,
        section="training",
        help="Sampled env steps between updates of the target network; 0: it follows every update.",
        converter=integer(ge=0),
    )
    tau: float = setting(
        1.0,
        section="training",
        help="Share of the online network in such an update.",
        converter=number(gt=0, le=1),
    )
    burn_in_len: int = setting(
        0,
        section="training",
        help="Steps at a sequence's start that only warm up the recurrent state.",
        converter=integer(ge=0),
    )
    store_buffer_in_checkpoints: bool | None = setting(
        section="checkpointing",
        help="Whether checkpoints have the replay buffer; None: as 'replay' says.",
        converter=optional(boolean),
    )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        steps = self.num_steps_sampled_before_learning_starts if self.warmup == "random" else 0
        return super()._model_config_auto_includes | ({RANDOM_STEPS: steps} if steps else {})

    @property
    def keeps_replay_buffers(self) -> bool:
        """Whether checkpoints have the replay buffers when they are made; without, a resumed run fills them again."""
        told = self.store_buffer_in_checkpoints
        return self.checkpoint_replay is not False if told is None else told

    @property
    def n_step_range(self) -> tuple[int, int]:
        """Lowest and highest number of steps of a return."""
        return (self.n_step, self.n_step) if isinstance(self.n_step, int) else (self.n_step[0], self.n_step[1])

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one round; ``"auto"`` is 1."""
        length = self.rollout_fragment_length
        return length if isinstance(length, int) else 1

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        capacity = self.replay_buffer_config["capacity"]
        least = max(self.num_steps_sampled_before_learning_starts, self.total_train_batch_size)
        if capacity < least:
            yield (
                f"training(replay_buffer_config={{'capacity': {capacity}}}): the buffer must hold at least {least} "
                "env steps (a train batch, and num_steps_sampled_before_learning_starts); raise the capacity"
            )
        max_seq_len = self.model_config.get("max_seq_len", 20)
        if self.burn_in_len and self.burn_in_len >= max_seq_len:
            yield (
                f"training(burn_in_len={self.burn_in_len}): must be less than model_config['max_seq_len']="
                f"{max_seq_len}; lower the one or raise the other"
            )
        if (self.num_epochs, self.minibatch_size, self.shuffle_batch_per_epoch) != (1, None, False):
            algorithm = type(self).__name__.removesuffix("Config")
            yield (
                f"training(num_epochs, minibatch_size, shuffle_batch_per_epoch): {algorithm} takes one step on each "
                "train batch; set train_batch_size for its size and training_intensity for how many there are"
            )
