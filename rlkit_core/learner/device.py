"""Where a learner computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    from rlkit_core.learner.learner_settings import LearnerSettings


def pick_device(config: LearnerSettings) -> torch.device:
    """The CPU, or the GPU ``local_gpu_idx`` where ``num_gpus_per_learner`` is more than 0 (a share of one is enough).

    Raises:
        ConfigError: torch sees no CUDA device, or not that many.
    """
    wanted = getattr(config, "num_gpus_per_learner", 0)
    if not wanted:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ConfigError(
            f"learners(num_gpus_per_learner={wanted:g}): torch {torch.__version__} ({built}) sees no CUDA device; "
            "install a CUDA build of torch and a driver, or set num_gpus_per_learner=0"
        )
    index, count = getattr(config, "local_gpu_idx", 0), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"learners(local_gpu_idx={index}): torch sees {count} CUDA devices; use 0 to {count - 1}")
    return torch.device("cuda", index)
