# Made by `python tests/helpers/settings_stubs.py rlkit_appo.config`; not to be edited.
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from rlkit_appo.appo import APPO
from rlkit_impala import IMPALAConfig
from typing import Any
from typing_extensions import Self
import attrs

@attrs.define(slots=False, kw_only=True)
class APPOConfig(IMPALAConfig):
    learner_queue_size: int = ...
    clip_param: float = ...
    target_worker_clipping: float = ...
    use_kl_loss: bool = ...
    kl_coeff: float = ...
    kl_target: float = ...
    use_circular_buffer: bool = ...
    circular_buffer_num_batches: int = ...
    circular_buffer_iterations_per_batch: int = ...
    target_network_update_freq: int = ...
    tau: float = ...
    @property
    def num_batches_that_wait(self) -> int: ...
    @property
    def target_network_clock(self) -> tuple[str, int]: ...
    def problems(self) -> Iterator[str]: ...
    def training(
        self,
        *,
        gamma: float = ...,
        grad_clip_by: str = ...,
        train_batch_size_per_learner: int | None = ...,
        num_epochs: int = ...,
        minibatch_size: int | None = ...,
        shuffle_batch_per_epoch: bool = ...,
        lr: float | Sequence[Sequence[float]] = ...,
        train_batch_size: int = ...,
        grad_clip: float | None = ...,
        vtrace_clip_rho_threshold: float = ...,
        vtrace_clip_pg_rho_threshold: float = ...,
        vf_loss_coeff: float = ...,
        entropy_coeff: float | Sequence[Sequence[float]] = ...,
        broadcast_interval: int = ...,
        learner_queue_size: int = ...,
        clip_param: float = ...,
        target_worker_clipping: float = ...,
        use_kl_loss: bool = ...,
        kl_coeff: float = ...,
        kl_target: float = ...,
        use_circular_buffer: bool = ...,
        circular_buffer_num_batches: int = ...,
        circular_buffer_iterations_per_batch: int = ...,
        target_network_update_freq: int = ...,
        tau: float = ...,
        learner_class: type[Any] | str | None = ...,
        learner_config_dict: Mapping[str, Any] | None = ...,
        model_config: Any = ...,
    ) -> Self: ...
    def build(self, env: Any = ..., use_copy: bool = ...) -> APPO: ...
    def build_algo(self, env: Any = ..., use_copy: bool = ...) -> APPO: ...
