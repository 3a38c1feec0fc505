"""The glossary of results has every key that training gives, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.results import flatten_result
from rlkit_core.testing import MultiAgentCartPole

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| key \| algorithms \| meaning \|\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
SOMETIMES = re.compile(r"^\| key \| meaning \|\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
SMALL = {
    "ppo": {"train_batch_size": 128, "minibatch_size": 64, "num_epochs": 1, "use_kl_loss": True},
    "impala": {"train_batch_size": 512},
    "appo": {"train_batch_size": 512, "use_kl_loss": True},
    "dqn": {"num_steps_sampled_before_learning_starts": 32, "train_batch_size": 16, "target_network_update_freq": 50},
    "sac": {"num_steps_sampled_before_learning_starts": 32, "train_batch_size": 16},
}


def names_of(cell: str) -> Iterator[str]:
    """Patterns of the keys in a cell; ``..._max`` is the name before it with another ending, or with one more."""
    before = ""
    for name in re.findall(r"`([^`]+)`", cell):
        pattern = re.sub(r"<\w+>", "[^/]+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">"))
        if name.startswith("..."):
            ending = re.escape(name.removeprefix("..."))
            pattern = f"(?:{before}|{before.rpartition('_')[0]}){ending}"
        else:
            before = pattern
        yield pattern


def rows() -> Iterator[tuple[str, str]]:
    """Of each key its pattern, and who has it."""
    for table in TABLE.findall(PAGE):
        for line in table.splitlines():
            _, keys, who, _, _ = line.split("|")
            yield from ((name, who) for name in names_of(keys))


def hold(result, has) -> None:
    """A result has the keys that the rows which ``has(who)`` picks tell of, and no others."""
    told, seen = [name for name, who in rows() if has(who)], list(flatten_result(result))
    assert [name for name in told if not any(re.fullmatch(name, key) for key in seen)] == []
    known = re.compile("|".join(told))
    assert [
        key for key in seen if not known.fullmatch(key) and not known.fullmatch(key.removeprefix("evaluation/"))
    ] == []


def trained(config):
    """The second result of a short run that evaluates."""
    config.reporting(log_gradients=True, min_sample_timesteps_per_iteration=64).debugging(seed=1)
    config.environment(env_config={**config.env_config, "max_episode_steps": 30})
    with config.evaluation(evaluation_interval=1, evaluation_duration=1).build_algo() as algo:
        algo.train()
        return algo.train()


@pytest.mark.parametrize("name", SMALL)
def test_each_key_of_an_algorithm_is_on_the_page(name):
    env = "Pendulum-v1" if name == "sac" else "CartPole-v1"
    result = trained(get_algorithm_config(name).environment(env).training(**SMALL[name]))
    hold(result, lambda who: re.search(rf"\b(all|{name})\b", who))


def test_each_key_of_several_agents_is_on_the_page():
    config = get_algorithm_config("ppo").environment(MultiAgentCartPole, env_config={"num_agents": 2})
    hold(trained(config.training(**SMALL["ppo"])), lambda who: re.search(r"\b(all|ppo|several agents)\b", who))


def test_keys_that_are_not_always_there_exist():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rlkit_core").rglob("*.py"))
    (table,) = SOMETIMES.findall(PAGE)
    names = [name.rpartition("/")[2] for name in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)]
    assert len(names) == 5
    assert [name for name in names if "<" not in name and name.removesuffix("_mean") not in sources] == []
