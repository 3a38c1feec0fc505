"""Every command: help with examples that its own parser takes, completion, and one message where the input is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import gymnasium as gym
import pytest
from command_line import check_help, check_one_message, completed, rlkit

from actor_critic import ACConfig
from rlkit_core.cli import named
from rlkit_core.cli.app import BUILT_IN, cli


def all_commands() -> list[str]:
    """Names of the own commands, those inside of groups as "config show"."""
    found = []
    for name in sorted(BUILT_IN):
        command = cli.get_command(click.Context(cli), name)
        found += [name, *(f"{name} {inner}" for inner in getattr(command, "commands", ()))]
    return found


@pytest.mark.parametrize("name", ["", *all_commands()])
def test_help_teaches_by_examples_that_the_parser_takes(name: str) -> None:
    check_help(name)


BAD = [
    (["algorithms", "--jsn"], "No such option '--jsn'"),
    (["plugins", "--requirements", "nowhere"], "nowhere"),
    (["check", "nobody-has-this"], "nobody-has-this"),
    (["check-env", "CartPol-v1"], "Did you mean 'CartPole-v1'?"),
    (["check-env", "./nowhere.py:Env"], "nowhere.py"),
    (["check-env", "CartPole-v1", "--steps", "0"], "0 is not in the range x>=1"),
    (["config", "show", "ac", "CartPol-v1"], "Did you mean 'CartPole-v1'?"),
    (["doctor", "--timeout", "3"], "--timeout needs --isolated"),
    (["envs", "--al"], "No such option '--al'"),
    (["evaluate", "nowhere"], "no checkpoint at"),
    (["evaluate", "."], "not a checkpoint"),
    (["evaluate", "nowhere", "--which", "worst"], "'worst' is not one of 'last', 'best'"),
    (["explain", "ac"], "Missing argument 'ENV'"),
    (["explain", "CartPole-v1", "ac"], "ALGO comes before ENV"),
    (["explain", "ac", "CartPole-v1", "--set", "lrr=1"], "Did you mean 'lr'?"),
    (["explain", "ac", "CartPole-v1", "--set", "model_config.fcnet_hiddens=wide"], "fcnet_hiddens"),
    (["presets", "acc"], "Did you mean 'ac'"),
    (["resume", "nowhere"], "no checkpoint at"),
    (["settings", "CartPole-v1"], "No algorithm 'CartPole-v1'"),
    (["train"], "Missing argument 'ALGO'"),
    (["train", "ac", "./nowhere.py:Env"], "nowhere.py"),
    (["train", "ac", "./nowhere.py"], "write ./nowhere.py:NAME"),
    (["train", "ac", "nobody_has_this:Env-v0"], "nobody_has_this"),
    (["train", "ac", "CartPole-v1", "--patience", "0"], "0 is not in the range x>=1"),
    (["train", "ac", "CartPole-v1", "--config", "nowhere.toml"], "does not exist"),
    (["train", "ac", "CartPole-v1", "--wrap", "nobody/this"], "nobody"),
    (["trian", "ac", "CartPole-v1"], "No such command 'trian'. Did you mean 'train'?"),
    (["verify", "nowhere"], "no run folder"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_message(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_one_message(words, says)


def test_every_command_is_tried_with_bad_input() -> None:
    groups = {"config"}
    assert {words[0] for words, _ in BAD} >= set(BUILT_IN) - groups


def test_what_nobody_explains_is_one_message_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> Any:
        raise ZeroDivisionError("once in a blue moon")

    monkeypatch.setattr("rlkit_core.envs.naming.listing.list_envs", fail)
    result = rlkit("envs")
    assert (result.exit_code, result.stdout) == (1, "")
    first, second = result.stderr.splitlines()
    assert first == "Error: ZeroDivisionError: once in a blue moon"
    assert second.startswith(f"raised in {__file__}, line ")
    assert second.endswith("; --debug shows the traceback")
    monkeypatch.setenv("RLKIT_DEBUG", "1")
    assert isinstance(rlkit("envs").exception, ZeroDivisionError)


# -- completion ------------------------------------------------------------------------------------------------------


def test_names_are_completed_without_importing_torch(tmp_path: Path) -> None:
    assert "train" in completed("rlkit tr", home=tmp_path)
    assert "ac" in completed("rlkit train a", home=tmp_path)
    offered = completed("rlkit train ac CartP", home=tmp_path)
    assert offered == sorted(name for name in gym.registry if name.startswith("CartP"))
    assert "--seeds" in completed("rlkit train --se", home=tmp_path)


def test_settings_are_looked_up_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    names = named.setting_names("ac")
    assert {*ACConfig.known_settings()} - set(names) == {"model_config", "env"}
    assert "model_config.fcnet_hiddens" in names
    (kept,) = tmp_path.rglob("settings.json")
    assert list(json.loads(kept.read_text()).values()) == [names]
    monkeypatch.setattr(named, "_looked_up", lambda algo: 1 / 0)
    assert named.setting_names("ac") == names
    assert "entropy_coeff=" in completed("rlkit train ac CartPole-v1 --set entropy", home=tmp_path)
    kept.write_text("{ broken")
    with pytest.raises(ZeroDivisionError):
        named.setting_names("ac")
