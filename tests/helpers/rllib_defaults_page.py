"""The page ``docs/reference/rllib-defaults.md``, made of algorithms' files, by ``make reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.config.presets import load_rllib_defaults

ALGORITHMS = ("ppo", "impala", "appo", "dqn", "sac")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rllib-defaults.md"
INTRO = """# RLlib's defaults

<!-- Made by tests/helpers/rllib_defaults_page.py of each algorithm's rllib_defaults.json: `make reference`. -->

Settings have RLlib's names and meanings; some have other defaults. These are all that differ, and why.
`PPOConfig().rllib_defaults()` takes RLlib's figures, but for what was set before, and returns the config.
"""


def here(config: Any, name: str) -> Any:
    """What a config has of a setting, or a network's."""
    return config[name] if name in config else config.model_config[name]


def rows(algorithm: str) -> list[tuple[str, Any, Any, str]]:
    """``(setting, here, RLlib's, why)`` of one algorithm."""
    config = get_algorithm_config(algorithm)
    found = []
    for entry in load_rllib_defaults(type(config)):
        settings = dict(entry["settings"])
        networks = settings.pop("model_config", {})
        for name, theirs in {**settings, **networks}.items():
            found.append((name, here(config, name), theirs, entry["why"]))
    return found


def page() -> str:
    """The text of the page."""
    parts = [INTRO]
    for algorithm in ALGORITHMS:
        parts += [f"## {algorithm.upper()}", "", "| setting | here | RLlib | why |", "|---|---|---|---|"]
        parts += [f"| `{name}` | `{ours}` | `{theirs}` | {why} |" for name, ours, theirs, why in rows(algorithm)]
        parts.append("")
    return "\n".join(parts[:-1]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
