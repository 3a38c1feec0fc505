"""Videos of a run while it goes on: the callbacks ``rlkit-tools/video``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rlkit_core import Algorithm
from rlkit_core.algorithm.run_view import RunView
from rlkit_core.envs.make import make_env
from rlkit_core.plugins.quarantine import learning_kept
from rlkit_core.run.policy.policy import Policy
from rlkit_tools.record import video

_log = logging.getLogger("rlkit_tools.record")


class VideoCallback:
    """Records an episode every ``video_every`` iterations, into ``videos`` of the run folder; training stays as it is.

    What cannot be recorded is refused before training; what fails later is logged, and training goes on.
    """

    def on_algorithm_init(self, algorithm: Algorithm) -> None:
        """Look whether there will be something to see.

        Raises:
            RecordError: there will not.
        """
        with learning_kept():
            video.check_recorder()
            video.rendering(_maker(algorithm.config)).close()

    def on_train_result(self, algorithm: Algorithm) -> None:
        """Record, where it is time to."""
        iteration = algorithm.iteration
        if iteration % algorithm.config.plugin_settings("rlkit-tools").video_every:
            return
        view = RunView(algorithm)
        try:
            with learning_kept():
                _record(view, (view.run_dir or Path()) / "videos" / f"iteration-{iteration:06d}{video.KIND}")
        except Exception:  # a video is not worth a run
            _log.exception("no video of iteration %d", iteration)


def _maker(config: Any) -> Any:
    own = config.get_evaluation_config_object()
    return lambda **settings: make_env(own.env, {**own.env_config, **settings}, own.wrappers)


def _record(view: RunView, path: Path) -> None:
    config: Any = view.config
    env = video.rendering(_maker(config))
    try:
        module = config.get_rl_module_spec(env=env).build()
        (weights,) = view.get_weights().values()
        module.set_state(weights)
        explore = config.get_evaluation_config_object().explore
        video.record(Policy(module, explore=explore), env, path)
    finally:
        env.close()
