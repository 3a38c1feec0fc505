"""The pages for people who come from elsewhere: nothing of what they have is passed over."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlkit_core import DefaultModelConfig, get_algorithm_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "how-to"
OLD_STACK = ("Policy.", "TorchPolicyV2.", "EagerTFPolicyV2.")


def test_what_people_override_in_a_policy_is_on_its_page():
    page = (PAGES / "from-rllib-policies.md").read_text(encoding="utf-8")
    documented = json.loads((ROOT / "tests" / "reference" / "names.json").read_text(encoding="utf-8"))
    members = {row["name"].partition(".")[2] for row in documented["names"] if row["name"].startswith(OLD_STACK)}
    assert len(members) > 5
    assert {member for member in members if f"`{member}(" not in page} == set()


HEAD = "| there | default there | here | default here |"
ALGORITHM = re.compile(r"^## .*\b(ppo|dqn|sac)\b", re.IGNORECASE | re.MULTILINE)
SETTING = re.compile(r"`(\w+)\((\w+)=")
OF_THE_MODEL = re.compile(r'`model_config\["(\w+)"\]`')


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    """Of each table of settings its rows: algorithm, what is written of the setting here, and of its default."""
    for table in re.finditer(rf"^{re.escape(HEAD)}\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        above = ALGORITHM.findall(page[: table.start()])
        for line in table[1].splitlines():
            _, _, _, here, default, _ = (cell.strip() for cell in line.split("|"))
            yield (above[-1].lower() if above else "ppo"), here, default


@pytest.mark.parametrize("name", ["from-rllib", "from-sb3", "from-cleanrl"])
def test_settings_exist_and_have_the_defaults_that_a_guide_says(name):
    count = 0
    for algorithm, here, default in rows((PAGES / f"{name}.md").read_text(encoding="utf-8")):
        config = get_algorithm_config(algorithm)
        called, of_the_model = SETTING.search(here), OF_THE_MODEL.search(here)
        if default == "":
            assert called is None or called[1] == "Stop", f"{name}: {here} has no default"
            continue
        if of_the_model:
            known = DefaultModelConfig.known_settings()[of_the_model[1]].make_default()
            value = config.model_config.get(of_the_model[1], known)
        else:
            assert called, f"{name}: {here} is no setting"
            setting = {s.short or s.name: s for s in type(config).known_settings().values()}[called[2]]
            assert setting.section == called[1]
            value = setting.make_default()
        assert ast.literal_eval(default.strip("`")) == value, f"{name}, {algorithm}: {here}"
        count += 1
    assert count > 20
