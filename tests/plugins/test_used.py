"""The lock of what is used: its value, its digest, and how an installation is compared with it."""

from __future__ import annotations

import random

import pytest

from rlkit_core._version import __version__
from rlkit_core.plugins.records import LOCAL, Origin
from rlkit_core.plugins.used.lock import (
    Lock,
    Used,
    build_digest,
    foundation,
    installed_requirements,
    installed_version,
    listed,
    requirement,
    versions,
)

ENTRIES = [
    Used("encoder", "lab-a/gcn", "lab-a", "1.0"),
    Used("encoder", "rlkit-core/mlp", "rlkit-core", "0.1.0"),
    Used("algorithm", "lab-b/algo", "lab-b", "2.0"),
    Used("env", "local/Mine", "local", "0"),
    Used("library", "torch", "torch", "2.1.0+cpu"),
]


def test_a_lock_is_a_value_whatever_the_order():
    locks = []
    for seed in range(20):
        shuffled = [*ENTRIES, ENTRIES[0]]
        random.Random(seed).shuffle(shuffled)
        locks.append(Lock(shuffled))
    assert len(set(locks)) == 1
    assert len({lock.digest() for lock in locks}) == 1
    assert [e.role for e in locks[0].entries] == ["algorithm", "encoder", "encoder", "env", "library"]
    assert Lock(ENTRIES[:2]) | Lock(ENTRIES[1:]) == locks[0]
    assert Lock(ENTRIES[:4]).digest() != locks[0].digest()


def test_it_goes_through_json():
    lock = Lock(ENTRIES)
    assert Lock.from_dict(lock.to_dict()) == lock
    for wrong in (None, [], {}, {"used": [["encoder", "x"]]}, {"used": [[1, 2, 3, 4]]}, {"used": "text"}):
        with pytest.raises(ValueError, match="this is no lock"):
            Lock.from_dict(wrong)


def test_only_what_is_used_is_compared():
    lock = Lock(ENTRIES)
    here = {"lab-a": "1.0", "lab-b": "2.0", "rlkit-core": "0.1.0", "torch": "2.1.0+cpu", "lab-new": "9"}
    assert lock.compare(here.get) == []
    assert lock.compare({**here, "lab-a": "1.1"}.get) == [
        "lab-a 1.0, used for encoder 'lab-a/gcn', is 1.1 here: pip install lab-a==1.0"
    ]
    del here["lab-b"]
    here["torch"] = "2.2.0"
    assert lock.compare(here.get) == [
        "lab-b 2.0, used for algorithm 'lab-b/algo', is not installed here: pip install lab-b==2.0",
        "torch 2.1.0+cpu is 2.2.0 here: pip install torch==2.1.0",
    ]
    assert lock.requirements() == ["lab-a==1.0", "lab-b==2.0", "rlkit-core==0.1.0", "torch==2.1.0"]
    assert requirement("torch", "2.1.0+cu121") == "torch==2.1.0"


def test_a_build_has_a_digest():
    lock, config, choices = Lock(ENTRIES), {"lr": 0.1, "b": [1, 2]}, {"default_policy": [{"id": "lab-a/gcn"}]}
    digest = build_digest(lock, config, choices)
    assert digest == build_digest(Lock(ENTRIES[::-1]), {"b": [1, 2], "lr": 0.1}, choices)
    others = [(Lock(), config, choices), (lock, {**config, "lr": 0.2}, choices), (lock, config, {})]
    assert digest not in [build_digest(*other) for other in others]


def test_a_class_brings_the_plugins_that_it_builds_on(site):
    site.add("lab-a", groups={"rlkit.algorithms": {"a": "lab_a:A"}}, lab_a="class A: ...\n")
    site.add(
        "lab-b", groups={"rlkit.algorithms": {"b": "lab_b:B"}}, lab_b="import lab_a\nclass B(lab_a.A, dict): ...\n"
    )
    host = site.host()
    found = Used.class_and_bases("algorithm", host.get_algorithm_config_class("b"), host.origin_of)
    assert [str(e) for e in found.entries] == ["algorithm 'lab-a/A'", "algorithm 'lab-b/B'"]
    mine = Used.class_and_bases("module", type("Mine", (), {"__module__": "__main__"}), lambda _: LOCAL)
    assert [e.id for e in mine.entries] == ["local/Mine"]
    core = Used.class_and_bases("module", Lock, lambda _: Origin("rlkit-core", __version__))
    assert core.entries == ()


def test_what_is_installed_as_requirements(site):
    site.add("lab-a", "", version="1.5")
    snapshot = site.scan()
    assert installed_requirements(snapshot) == ["lab-a==1.5", f"rlkit-core=={__version__}"]
    assert installed_version(snapshot, "lab-a") == "1.5"
    assert installed_version(snapshot, "pluggy") == versions()["pluggy"]
    assert installed_version(snapshot, "lab-nowhere") is None


def test_plugins_that_share_a_package_are_told_apart_in_checkpoints(site):
    for name in ("a", "b"):
        site.add(f"lab-{name}", groups={"rlkit.catalogs": {name: f"lab_shared.{name}:C"}})
    site.add("lab-c", groups={"rlkit.catalogs": {"c": "lab_c.deep:C"}})
    used = foundation() | Lock(Used("catalog", f"lab-{name}/x", f"lab-{name}", "1.0") for name in ("b", "c"))
    assert [entry for entry in listed(used, site.scan()) if entry["name"] != "rlkit-core"] == [
        {"name": "lab-b", "version": "1.0", "packages": ["lab_shared.b"]},
        {"name": "lab-c", "version": "1.0", "packages": ["lab_c"]},
    ]
