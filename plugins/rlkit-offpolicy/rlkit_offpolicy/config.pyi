# Made by `python tests/helpers/settings_stubs.py rlkit_offpolicy.config`; not to be edited.
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from rlkit_core import AlgorithmConfig
from typing import Any
from typing_extensions import Self
import attrs

BUFFER_TYPES: dict[Any, Any]
def n_steps(value: int | Sequence[int]) -> int | list[int]: ...
def replay_buffer_setting(type: str='prioritized', capacity: int=50000, alpha: float=0.6, beta: float=0.4) -> Any: ...
@attrs.define(slots=False, kw_only=True)
class OffPolicyConfig(AlgorithmConfig):
    min_sample_timesteps_per_iteration: int = ...
    replay_buffer_config: dict[str, Any] = ...
    n_step: int | list[int] = ...
    training_intensity: float | None = ...
    num_steps_sampled_before_learning_starts: int = ...
    warmup: str = ...
    target_network_update_freq: int = ...
    tau: float = ...
    burn_in_len: int = ...
    store_buffer_in_checkpoints: bool | None = ...
    @property
    def _model_config_auto_includes(self) -> dict[str, Any]: ...
    @property
    def keeps_replay_buffers(self) -> bool: ...
    @property
    def n_step_range(self) -> tuple[int, int]: ...
    def get_rollout_fragment_length(self, worker_index: int=0) -> int: ...
    def problems(self) -> Iterator[str]: ...
    def training(
        self,
        *,
        gamma: float = ...,
        lr: float | Sequence[Sequence[float]] = ...,
        grad_clip: float | None = ...,
        grad_clip_by: str = ...,
        train_batch_size: int = ...,
        train_batch_size_per_learner: int | None = ...,
        num_epochs: int = ...,
        minibatch_size: int | None = ...,
        shuffle_batch_per_epoch: bool = ...,
        replay_buffer_config: Mapping[str, Any] = ...,
        n_step: int | Sequence[int] = ...,
        training_intensity: float | None = ...,
        num_steps_sampled_before_learning_starts: int = ...,
        warmup: str = ...,
        target_network_update_freq: int = ...,
        tau: float = ...,
        burn_in_len: int = ...,
        learner_class: type[Any] | str | None = ...,
        learner_config_dict: Mapping[str, Any] | None = ...,
        model_config: Any = ...,
    ) -> Self: ...
    def checkpointing(
        self,
        *,
        every: float | str | None = ...,
        keep: int = ...,
        best: bool = ...,
        replay: str | bool = ...,
        store_buffer_in_checkpoints: bool | None = ...,
    ) -> Self: ...
