"""Which settings may differ between the modules of one run, and why the others may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rlkit_core.errors import ConfigError
from rlkit_core.settings import SectionedSettings

#: Settings outside of ``training()`` that are read for each module: how it is built, and how it is stepped.
MODULE_SETTINGS: Final = frozenset(
    {
        *("model_config", "catalogs", "components", "mixins", "normalize_actions", "clip_actions"),
        *("on_nonfinite", "log_gradients", "learner_config_dict"),
    }
)
#: Settings of ``training()`` that one update has for all modules; an algorithm's ``shared_settings`` are further ones.
OF_ALL_MODULES: Final = frozenset(
    {"train_batch_size", "train_batch_size_per_learner", "num_epochs", "minibatch_size", "shuffle_batch_per_epoch"}
)
_OF_MODULES: Final = ("training", "experimental")
_WHY: Final = {
    "environment": "all modules act in the same envs",
    "env_runners": "all modules act in the same steps of the same runners",
    "training": "one update, or the algorithm's one loop, serves all modules",
    "learners": "the same learners train all modules",
    "rl_module": "it says what modules there are",
    "multi_agent": "it says what modules there are",
}


def may_differ(config: SectionedSettings, name: str) -> bool:
    """Whether a setting is read for each module.

    Args:
        config: of the algorithm.
        name: the setting's own name.
    """
    if config.known_settings()[name].section not in _OF_MODULES:
        return name in MODULE_SETTINGS
    return name not in OF_ALL_MODULES and name not in getattr(config, "shared_settings", ())


def check_may_differ(config: SectionedSettings, module_id: str, settings: Mapping[str, object]) -> None:
    """Refuse settings of one module that are read once for all modules.

    Raises:
        ConfigError: a setting is.
    """
    for written in settings:
        name = config.setting_name(written, note=False)
        if not may_differ(config, name):
            section = config.known_settings()[name].section
            why = _WHY.get(section, "it is the run's, and no module's")
            raise ConfigError(
                f"module {module_id!r}: {name} cannot differ between modules, since {why}; set it for all of them, "
                f"config.{section}({name}=...)"
            )
