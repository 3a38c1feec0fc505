from __future__ import annotations

import json
import zipfile

import pytest

THIRD_PARTIES = (("rlkit-graph", "rlkit_graph"), ("rlkit-rnd", "rlkit_rnd"))
HEAVY = {"torch", "numpy", "gymnasium", "rich", "click", "tensorboard"}


def imported(stderr: str) -> set[str]:
    """The modules that ``python -X importtime`` reports."""
    return {line.rsplit("|", 1)[1].strip() for line in stderr.splitlines() if line.startswith("import time:")}


def plugins(environment, **env):
    done = environment.rlkit("plugins", "--json", check=True, **env)
    return {p["name"]: p for p in json.loads(done.stdout)["plugins"]}


def test_the_environment_shows_nothing_of_the_parent(bare):
    assert set(plugins(bare)) == {"rlkit-core"}
    code = "import rlkit_core, torch; print(rlkit_core.__file__)"
    assert bare.run(bare.python, "-c", code, check=True).stdout.startswith(str(bare.site_packages))
    assert bare.run(bare.python, "-c", "import rlkit_ppo").returncode != 0


def test_wheels_hold_the_package_and_nothing_else(wheel):
    for name, package in (("rlkit-core", "rlkit_core"), ("rlkit-ppo", "rlkit_ppo"), *THIRD_PARTIES):
        names = zipfile.ZipFile(wheel(name)).namelist()
        assert (name, package) not in THIRD_PARTIES or f"{package}/rlkit_presets.json" in names
        assert f"{package}/py.typed" in names
        assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {package}
        assert not [n for n in names if "__pycache__" in n or "/tests/" in n]


@pytest.mark.parametrize("command", ["plugins", "algorithms"])
def test_listings_import_nothing_heavy_and_no_plugin(healthy, command):
    done = healthy.run(
        healthy.python, "-X", "importtime", healthy.path / "bin" / "rlkit", command, "--json", check=True
    )
    loaded = imported(done.stderr)
    assert "rlkit_core.plugins.discovery" in loaded  # the report was read
    assert not {m.split(".")[0] for m in loaded} & {*HEAVY, "pluggy", "attrs", "rlkit_ppo"}
    assert not [m for m in loaded if m.startswith("fx_")]
    assert json.loads(done.stdout)[command]


def test_the_listing_of_a_healthy_installation(healthy):
    found = plugins(healthy)
    assert {n: p["state"] for n, p in found.items()} == dict.fromkeys(
        [
            "rlkit-core",
            "rlkit-capture",
            "rlkit-ppo",
            "rlkit-processes",
            "fx-good",
            "fx-api",
            "fx-algorithm",
            "fx-catalog",
            "fx-command",
            "fx-observer",
        ],
        "found",
    )
    assert found["rlkit-ppo"]["requires_core"]
    text = healthy.rlkit("algorithms", check=True).stdout
    assert [line.split()[:2] for line in text.splitlines()[1:]] == [
        ["noop", "fx-algorithm"],
        ["ppo", "rlkit-ppo"],
    ]


def test_variables_hide_plugins(healthy):
    assert plugins(healthy, RLKIT_PLUGINS="")["rlkit-ppo"]["state"] == "disabled"
    assert plugins(healthy, RLKIT_PLUGINS="ppo")["rlkit-ppo"]["state"] == "found"
    hidden = plugins(healthy, RLKIT_PLUGINS_DISABLE="rlkit-ppo")["rlkit-ppo"]
    assert (hidden["state"], hidden["reason"]) == ("disabled", "RLKIT_PLUGINS_DISABLE names it")


def test_a_second_copy_is_shadowed(healthy, wheel, tmp_path):
    copy = tmp_path / "copy"
    zipfile.ZipFile(wheel("fx-good")).extractall(copy)
    rows = json.loads(healthy.rlkit("plugins", "--json", PYTHONPATH=str(copy)).stdout)["plugins"]
    states = [(r["state"], r["location"]) for r in rows if r["name"] == "fx-good"]
    assert states == [("found", str(copy)), ("shadowed", str(healthy.site_packages))]


def test_a_command_of_a_plugin(healthy):
    assert healthy.rlkit("hello", "reader", check=True).stdout == "hello reader\n"


# ------------------------------------------------------------------ absent


def test_an_algorithm_that_is_not_installed(bare):
    done = bare.rlkit("train", "ppo", "CartPole-v1")
    assert done.returncode == 2
    assert "No algorithm 'ppo'. No algorithm is installed." in done.stderr
    assert "pip install rlkit-ppo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistyped_algorithm(healthy):
    done = healthy.rlkit("train", "poo", "CartPole-v1")
    assert done.returncode == 2
    assert "No algorithm 'poo'. Did you mean 'ppo'?" in done.stderr


def test_installing_and_removing(make_venv, wheel):
    environment = make_venv()
    assert "rlkit-ppo" not in plugins(environment)
    environment.install(wheel("rlkit-ppo"))
    assert plugins(environment)["rlkit-ppo"]["state"] == "found"
    environment.pip("uninstall", "--yes", "rlkit-ppo")
    assert set(plugins(environment)) == {"rlkit-core"}


# ------------------------------------------------------------------ broken


def test_doctor_reports_each_fault_and_exits_with_1(broken, faults):
    done = broken.rlkit("doctor", "--json")
    assert done.returncode == 1
    checks = json.loads(done.stdout)["checks"]
    for name, (state, reason) in faults.items():
        own = next(c for c in checks if c["distribution"] == name and c["what"] == "rlkit.plugins")
        assert own["state"] == state
        assert reason in own["reason"]
    fine = {c["distribution"] for c in checks} - {c["distribution"] for c in checks if c["state"] != "ok"}
    assert {"fx-good", "rlkit-ppo"} <= fine


def test_doctor_as_text_shows_reason_and_remedy(broken):
    done = broken.rlkit("doctor")
    assert done.returncode == 1
    assert "FAILED       fx-exit 1.0  plugins exit" in done.stdout
    assert "remedy: install 'fx_module_that_nobody_has', which it imports" in done.stdout
    assert "\x1b" not in done.stdout


def test_listings_do_not_mind_broken_plugins(broken):
    found = plugins(broken)
    assert found["fx-exit"]["state"] == "found"  # metadata cannot know
    assert found["fx-incompatible"]["state"] == "incompatible"


def test_the_first_build_reports_each_failure_once_and_everything_else_works(broken, faults):
    code = (
        "from rlkit_core.plugins.host import default_host\n"
        "from rlkit_core import get_algorithm_config\n"
        "host = default_host()\n"
        "host.load(); host.load()\n"
        "print(host.registry.get('fx-good/text', 'encoder').id)\n"
        "print(type(get_algorithm_config('ppo')).__name__)\n"
    )
    done = broken.run(broken.python, "-c", code, check=True)
    assert done.stdout.splitlines() == ["fx-good/text", "PPOConfig"]
    for name, (_, reason) in faults.items():
        assert done.stderr.count(f"plugin {name} 1.0") == 1
        assert reason in done.stderr


def test_asking_for_the_broken_one_raises_its_error(broken):
    done = broken.rlkit("train", "needs-missing", "CartPole-v1")
    assert done.returncode == 2
    assert "algorithm 'needs-missing' cannot be used" in done.stderr
    assert "fx_module_that_nobody_has" in done.stderr
    done = broken.rlkit("train", "old", "CartPole-v1")
    assert done.returncode == 2
    assert "requires rlkit-core>=7" in done.stderr


def test_strict_mode_stops_at_the_first_failure(broken):
    code = "from rlkit_core.plugins.host import default_host; default_host().load()"
    done = broken.run(broken.python, "-c", code, RLKIT_PLUGINS_STRICT="1")
    assert done.returncode == 1
    assert "PluginError" in done.stderr
