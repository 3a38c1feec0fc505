"""Write docs/reference/model-config.md from the declarations of DefaultModelConfig: `make reference`."""

from __future__ import annotations

from pathlib import Path

import attrs

from rlkit_core import DefaultModelConfig, get_algorithm_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "model-config.md"
ALGORITHMS = ("ppo", "impala", "appo", "dqn", "sac")
GROUPS = {
    "Vectors": ("fcnet_",),
    "Images": ("conv_",),
    "Dict and Tuple observations": ("fusionnet_",),
    "Memory": ("use_lstm", "use_gru", "max_seq_len", "lstm_"),
    "Observations": ("normalize_observations", "observation_clip"),
    "Heads": ("head_", "vf_share_layers"),
    "Actions": ("free_log_std", "log_std_", "normalize_actions", "clip_actions"),
}
"""Section of the page -> what the names of its keys begin with."""
TYPES = {
    "ActivationSpec": "str or class",
    "InitializerSpec": "str, function or None",
    "dict[str, Any] | None": "dict or None",
    "list[Any] | None": "list or None",
    "bool | None": "bool or None",
}
"""Annotations as the page has them."""
HEAD = """\
# model_config

<!-- Made by tests/helpers/model_config_page.py of DefaultModelConfig: `make reference`. -->

What `rl_module(model_config=...)` may hold for the networks that catalogs build: a dict, of which keys that are left
out keep their defaults, or a `DefaultModelConfig`, of which only what was set counts. From the command it is `--set
model_config.fcnet_hiddens=[64,64]`.

```python
from rlkit_ppo import PPOConfig

config = PPOConfig().rl_module(model_config={"fcnet_hiddens": [32], "fcnet_activation": "relu"})
assert config.model_config["fcnet_hiddens"] == [32]
assert not config.model_config["vf_share_layers"]  # PPO's own default
```

- Which keys are read follows from the observation: those of vectors for a `Box` of one axis, `Discrete` and its kin,
  those of images for two to four axes, and for `Dict` and `Tuple` the parts' and those of the MLP that joins them.
- A key may be given for one network alone: `head_` keys as `pi_head_`, `vf_head_`, `af_head_`, `qf_head_`, those of
  encoders as `qf_fcnet_`, `qf_conv_`, `qf_fusionnet_` ([slots](modules.md)).
- A name that nothing reads is an error, when the module is built; what [components](../how-to/write-each-kind.md) and
  [mixins](../how-to/compose-an-api-mixin.md) declare counts as read. A module class of your own may read what it likes.
- An activation is the name of one of torch's (`tanh`, `relu`, `silu` ...) or a class, an initializer that of a function
  of `torch.nn.init` (`orthogonal_`); actor-critic modules start with orthogonal weights where nothing is said.
"""
OWN = """
## Defaults of algorithms

Each algorithm has some defaults of its own, which stand between these and what you set:

| key | {names} |
|---|{lines}|
"""


def literal(value: object) -> str:
    """A value as a cell."""
    return f"`{value!r}`"


def table(prefixes: tuple[str, ...]) -> str:
    """The keys that begin so: type, default and meaning."""
    types = {field.name: TYPES.get(str(field.type), str(field.type)) for field in attrs.fields(DefaultModelConfig)}
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, declared in DefaultModelConfig.known_settings().items():
        if name.startswith(prefixes):
            lines.append(f"| `{name}` | {types[name]} | {literal(declared.make_default())} | {declared.help} |")
    return "\n".join(lines) + "\n"


def own_defaults() -> str:
    """What the algorithms' configs say where it is not the default."""
    configs = {name: get_algorithm_config(name).model_config for name in ALGORITHMS}
    declared = {name: setting.make_default() for name, setting in DefaultModelConfig.known_settings().items()}
    text = OWN.format(names=" | ".join(map(str.upper, ALGORITHMS)), lines="---|" * (len(ALGORITHMS) - 1) + "---")
    for name, default in declared.items():
        values = [config.get(name, default) for config in configs.values()]
        if any(value != default for value in values):
            text += f"| `{name}` | {' | '.join(map(literal, values))} |\n"
    return text


def page() -> str:
    """The whole page."""
    sections = "".join(f"\n## {title}\n\n{table(prefixes)}" for title, prefixes in GROUPS.items())
    return HEAD + sections + own_defaults()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
