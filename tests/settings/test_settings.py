"""Declaring settings: one attrs field line each, in the core and in a plugin's subclass."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_core.settings import (
    OtherNames,
    Settings,
    boolean,
    either,
    integer,
    number,
    one_of,
    optional,
    redeclare,
    schedule,
    setting,
)


@attrs.define
class ToyConfig(AlgorithmConfig):
    lr: Any = redeclare(AlgorithmConfig, "lr", 3e-4)
    beta: float = setting(0.5, section="training", help="How bold.", converter=number(ge=0), aliases=["boldness"])
    modes: list[str] = setting(["a"], section="env_runners", help="A list.")


@attrs.define
class ToyerConfig(ToyConfig):
    beta: float = redeclare(ToyConfig, "beta", 0.9)
    gear = setting(1, section="training", help="No annotation.", validator=attrs.validators.in_([1, 2, 3]))


def test_one_line_gives_everything() -> None:
    config = ToyConfig().training(beta=2).env_runners(modes=["b"], num_envs_per_env_runner=4)
    assert (config.beta, config["beta"], config.lr, config.num_envs_per_env_runner) == (2.0, 2.0, 3e-4, 4)
    assert "beta" in inspect.signature(ToyConfig.training).parameters
    assert "beta" not in inspect.signature(AlgorithmConfig.training).parameters
    assert "beta (float): How bold. Default: 0.5." in (ToyConfig.training.__doc__ or "")
    with pytest.raises(ConfigError, match=r"training\(beta=-1\): expected a number >= 0"):
        config.training(beta=-1)
    assert config.beta == 2.0


@attrs.define
class ShortConfig(AlgorithmConfig):
    toy_keep: bool = setting(True, section="environment", short="keep", help="Keep toys.", converter=boolean)


def test_a_short_name_is_the_sections_own_and_two_sections_may_have_the_same() -> None:
    config = ShortConfig().environment(keep=False).checkpointing(replay="last", every="10 iterations", keep=1)
    assert (config.toy_keep, config.checkpoint_replay) == (False, "last")
    assert (config["checkpoint_every"], config.checkpoint_keep, config.checkpoint_best) == ("10 iterations", 1, True)
    assert set(inspect.signature(AlgorithmConfig.checkpointing).parameters) >= {"every", "keep", "best", "replay"}
    assert "keep (int): How many" in (AlgorithmConfig.checkpointing.__doc__ or "")
    assert config.copy().update_from_dict({"checkpoint_keep": 2}).checkpoint_keep == 2
    assert ShortConfig.from_json(config.to_json()).diff(config) == {}
    with pytest.raises(UnknownSettingError, match="has no setting 'keep'"):
        config.update_from_dict({"keep": False})
    with pytest.raises(UnknownSettingError, match=r"training\(\) has no setting 'keep'"):
        config.training(keep=2)
    with pytest.raises(ConfigError, match="is given too; keep one of them"):
        config.checkpointing(keep=2, checkpoint_keep=3)
    with pytest.raises(UnknownSettingError, match="Settings of checkpointing\\(\\): every, keep, best, replay"):
        config.checkpointing(frequency=3)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "", "10", "0 iterations", "ten iterations"])
def test_when_a_run_saves_is_seconds_or_iterations(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"checkpointing\(every=.*expected a number of seconds"):
        AlgorithmConfig().checkpointing(every=value)
    good = [(30, 30.0), ("1 iteration", "1 iterations"), (" 7  iterations", "7 iterations"), (None, None)]
    assert [AlgorithmConfig().checkpointing(every=one).checkpoint_every for one, _ in good] == [to for _, to in good]


def test_subclass_of_a_subclass_and_attrs_validators() -> None:
    config = ToyerConfig()
    assert (config.beta, config.lr, config.gear) == (0.9, 3e-4, 1)
    with pytest.raises(ConfigError, match="gear=4"):
        config.gear = 4
    with pytest.warns(UserWarning, match="'boldness' is an older name of 'beta'"):
        config.training(boldness=2)
    assert config.beta == 2.0


def test_mutable_defaults_are_not_shared() -> None:
    one, other = ToyConfig(), ToyConfig()
    one.modes.append("b")
    one.env_config["x"] = 1
    assert other.modes == ["a"]
    assert other.env_config == {}
    assert ToyConfig().modes == ["a"]


@pytest.mark.parametrize("config", [ToyConfig(), ToyerConfig().training(gear=2)])
def test_copies_and_pickles_stay_checked(config: AlgorithmConfig) -> None:
    for twin in (config.copy(), copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert twin.set_by_user() == config.set_by_user()
        with pytest.raises(ConfigError):
            twin.beta = "much"
        twin.beta = 0.25
        assert twin != config


def test_attrs_define_leaves_equality_hash_and_repr_alone() -> None:
    one = ToyerConfig().training(beta=1)
    assert repr(one) == "ToyerConfig(beta=1.0)"
    assert one == ToyerConfig().training(beta=1)
    assert one != ToyConfig().training(beta=1)
    assert isinstance(hash(one), int)


def test_settings_in_the_constructor_are_checked_and_count_as_set() -> None:
    config = ToyConfig(beta=3)
    assert config.beta == 3.0
    assert config.set_by_user() == {"beta"}
    with pytest.raises(ConfigError, match="beta=-3"):
        ToyConfig(beta=-3)


def test_a_bare_field_is_refused_at_class_definition() -> None:
    with pytest.raises(TypeError, match=r"Bad\.extra: declare settings with"):

        @attrs.define
        class Bad(AlgorithmConfig):
            extra: int = 3


def test_a_forgotten_decorator_is_named() -> None:
    class Forgot(AlgorithmConfig):
        extra: int = setting(3, section="training", help="Not decorated.")

    with pytest.raises(TypeError, match=r"Forgot\.extra: decorate the class with @attrs\.define"):
        Forgot()


def test_each_value_is_converted_once() -> None:
    seen: list[Any] = []

    def convert(value: Any) -> Any:
        seen.append(value)
        return value

    @attrs.define
    class Counted(AlgorithmConfig):
        gear: int = setting(0, section="training", help="Counted.", converter=convert)

    config = Counted()
    Counted()
    assert seen == [0]
    config.training(gear=1)
    config.gear = 2
    config.update_from_dict({"gear": 3})
    config.copy().freeze()
    Counted(gear=4)
    assert seen == [0, 1, 2, 3, 4]


def test_a_wrong_section_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"Odd\.gear: setting\(section='trainig'\): expected one of api_stack,"):

        @attrs.define
        class Odd(AlgorithmConfig):
            gear: int = setting(1, section="trainig", help="In no section.")

    with pytest.raises(TypeError, match="no setting of that name"):
        redeclare(AlgorithmConfig, "lamda", 1)


def test_every_core_setting_has_a_section_and_a_help() -> None:
    for item in AlgorithmConfig.known_settings().values():
        assert item.section in AlgorithmConfig.sections()
        assert item.help.endswith("."), item.name
        assert item.spelled in inspect.signature(getattr(AlgorithmConfig, item.section)).parameters


@pytest.mark.parametrize(
    ("converter", "good", "bad"),
    [
        (
            integer(ge=1),
            [(1, 1), (2.0, 2), (np.int64(3), 3), (1e5, 100000)],
            [0, True, 1.5, "1", None, float("nan")],
        ),
        (number(gt=0, le=1), [(1, 1.0), (np.float32(0.5), 0.5)], [0, 1.1, True, "x", float("inf"), None]),
        (boolean, [(True, True), (np.bool_(False), False)], [1, 0, None, "True"]),
        (one_of("a", None), [("a", "a"), (None, None)], ["b", 0, False]),
        (optional(integer()), [(None, None), (4, 4)], ["", 0.5]),
        (either(one_of("auto"), integer(ge=1)), [("auto", "auto"), (3, 3)], ["Auto", 0]),
        (
            schedule(ge=0),
            [
                (0.1, 0.1),
                ([[0, 1], [10, 0.5]], [[0, 1.0], [10, 0.5]]),
                (((0, 1), (1e3, 0)), [[0, 1.0], [1000, 0.0]]),
            ],
            [
                -1,
                [],
                [[0, 1]],
                [[1, 1], [2, 1]],
                [[0, 1], [0, 2]],
                [[0, 1], [5, -1]],
                [[0, 1, 2], [1, 1]],
                "linear",
            ],
        ),
    ],
)
def test_converters(converter: Any, good: list[tuple[Any, Any]], bad: list[Any]) -> None:
    for given_value, stored in good:
        result = converter(given_value)
        assert result == stored
        assert type(result) is type(stored)
    for value in bad:
        with pytest.raises(ValueError, match=r"expected|schedule"):
            converter(value)


@given(st.integers(), st.integers(min_value=-100, max_value=100))
def test_integer_bounds_hold(value: int, low: int) -> None:
    convert = integer(ge=low)
    if value >= low:
        assert convert(value) == value
    else:
        with pytest.raises(ValueError, match=f">= {low}"):
            convert(value)


def test_unknown_setting_error_is_what_python_expects() -> None:
    with pytest.raises(UnknownSettingError) as caught:
        ToyConfig().training(bet=1)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AttributeError)
    assert str(caught.value) == "ToyConfig.training() has no setting 'bet'. Did you mean 'beta'?"


@attrs.define(slots=False)
class Plain(Settings):
    """Settings without sections, of which None takes one back."""

    none_is_unset = True
    other_names = OtherNames(elsewhere={"height": "size"}, refused={"weight": "nothing weighs here"}, origin="a shop")
    size: int = setting(3, help="How big.", converter=integer(ge=1), aliases=["extent"])
    tags: list[str] = setting(["a"], help="What for.")


def test_settings_need_no_sections() -> None:
    plain = Plain(5, tags=["b"])
    assert (plain.size, plain.tags, plain.set_fields()) == (5, ["b"], {"size": 5, "tags": ["b"]})
    assert repr(plain) == "Plain(size=5, tags=['b'])"
    assert list(inspect.signature(Plain).parameters) == ["size", "tags"]
    twin = plain.copy()
    twin.tags.append("c")
    assert plain.tags == ["b"]
    assert twin.diff(plain) == {"tags": (["b", "c"], ["b"])}
    with pytest.raises(ConfigError, match=r"Plain\(size=0\): expected a whole number >= 1"):
        Plain(0)
    for call in (lambda: Plain(1, ["x"], 3), lambda: Plain(1, size=2)):
        with pytest.raises(TypeError, match=r"Plain\(\)"):
            call()


def test_none_takes_a_setting_back() -> None:
    plain = Plain(size=5, tags=None)
    assert plain.set_by_user() == {"size"}
    plain.size = None  # type: ignore[assignment]
    assert (plain.size, plain.set_fields()) == (3, {})
    with pytest.warns(UserWarning, match="'extent' is an older name of 'size'"):
        plain.change({"size": None, "extent": 4})
    assert plain.size == 4


def test_names_from_elsewhere_are_told_apart() -> None:
    for name, says in {"height": "Did you mean 'size'?", "weight": "nothing weighs here", "sise": "'size'"}.items():
        with pytest.raises(UnknownSettingError, match=f"Plain has no setting '{name}'.*{re.escape(says)}"):
            Plain(**{name: 1})


def test_names_are_read_from_a_file_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_names").mkdir()
    (tmp_path / "shop_names" / "__init__.py").touch()
    entry = {"names": ["a", "b"], "instead": "neither"}
    (tmp_path / "shop_names" / "names.json").write_text(json.dumps({"origin": "a shop", "refused": [entry]}))
    monkeypatch.syspath_prepend(str(tmp_path))
    names = OtherNames.read("shop_names", "names.json")
    assert names.hint("b", []) == " 'b' is a setting of a shop that rlkit does not have: neither."
