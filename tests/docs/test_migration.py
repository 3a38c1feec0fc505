"""The pages for people who come from elsewhere: nothing of what they have is passed over."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "how-to"
OLD_STACK = ("Policy.", "TorchPolicyV2.", "EagerTFPolicyV2.")


def test_what_people_override_in_a_policy_is_on_its_page():
    page = (PAGES / "from-rllib-policies.md").read_text(encoding="utf-8")
    documented = json.loads((ROOT / "tests" / "reference" / "names.json").read_text(encoding="utf-8"))
    members = {row["name"].partition(".")[2] for row in documented["names"] if row["name"].startswith(OLD_STACK)}
    assert len(members) > 5
    assert {member for member in members if f"`{member}(" not in page} == set()
