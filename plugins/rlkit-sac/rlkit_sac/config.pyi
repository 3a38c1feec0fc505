# Made by `python tests/helpers/settings_stubs.py rlkit_sac.config`; not to be edited.
from collections.abc import Mapping
from collections.abc import Sequence
from rlkit_offpolicy import OffPolicyConfig
from rlkit_sac.sac import SAC
from typing import Any
from typing_extensions import Self
import attrs

@attrs.define(slots=False, kw_only=True)
class SACConfig(OffPolicyConfig):
    lr: float | list[list[float]] = ...
    train_batch_size: int = ...
    replay_buffer_config: dict[str, Any] = ...
    warmup: str = ...
    target_network_update_freq: int = ...
    tau: float = ...
    twin_q: bool = ...
    initial_alpha: float = ...
    target_entropy: float | str = ...
    actor_lr: float | list[list[float]] | None = ...
    critic_lr: float | list[list[float]] | None = ...
    alpha_lr: float | list[list[float]] | None = ...
    @property
    def _model_config_auto_includes(self) -> dict[str, Any]: ...
    def training(
        self,
        *,
        gamma: float = ...,
        grad_clip: float | None = ...,
        grad_clip_by: str = ...,
        train_batch_size_per_learner: int | None = ...,
        num_epochs: int = ...,
        minibatch_size: int | None = ...,
        shuffle_batch_per_epoch: bool = ...,
        n_step: int | Sequence[int] = ...,
        training_intensity: float | None = ...,
        num_steps_sampled_before_learning_starts: int = ...,
        burn_in_len: int = ...,
        lr: float | Sequence[Sequence[float]] = ...,
        train_batch_size: int = ...,
        replay_buffer_config: Mapping[str, Any] = ...,
        warmup: str = ...,
        target_network_update_freq: int = ...,
        tau: float = ...,
        twin_q: bool = ...,
        initial_alpha: float = ...,
        target_entropy: float | str = ...,
        actor_lr: float | Sequence[Sequence[float]] | None = ...,
        critic_lr: float | Sequence[Sequence[float]] | None = ...,
        alpha_lr: float | Sequence[Sequence[float]] | None = ...,
        learner_class: type[Any] | str | None = ...,
        learner_config_dict: Mapping[str, Any] | None = ...,
        model_config: Any = ...,
    ) -> Self: ...
    def build(self, env: Any = ..., use_copy: bool = ...) -> SAC: ...
    def build_algo(self, env: Any = ..., use_copy: bool = ...) -> SAC: ...
