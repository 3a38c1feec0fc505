from __future__ import annotations

import io
import json
import sys

import pytest

from rlkit_core.cli import app, doctor, listing
from rlkit_core.plugins import discovery


def test_listing_as_text(site, rlkit):
    site.fixture("fx-good", "fx-incompatible", "fx-algorithm")
    code, out, _ = rlkit("plugins", RLKIT_PLUGINS_DISABLE="fx-good")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["PLUGIN", "VERSION", "STATE", "PROVIDES"]
    assert "fx-algorithm     1.0      found         algorithms: noop" in lines
    assert lines[lines.index("fx-good          1.0      disabled      plugins: good") + 1].endswith("names it")
    assert "requires rlkit-core>=7" in out
    assert "\x1b" not in out


def test_listing_as_json_is_the_same_whichever_way_it_is_reached(site, rlkit):
    site.fixture("fx-algorithm", "fx-incompatible")
    data = json.loads(rlkit("plugins", "--json")[1])
    by_name = {p["name"]: p for p in data["plugins"]}
    assert by_name["fx-incompatible"]["state"] == "incompatible"
    assert by_name["fx-algorithm"]["entry_points"][0]["value"] == "fx_algorithm:NoopConfig"
    assert data["core"]["api"] == "1.0"
    through_click = json.loads(rlkit("--debug", "plugins", "--json")[1])
    assert through_click == data


def test_algorithms(site, rlkit):
    assert "pip install rlkit-ppo" in rlkit("algorithms")[1]
    site.fixture("fx-algorithm", "fx-incompatible")
    rows = json.loads(rlkit("algorithms", "--json")[1])["algorithms"]
    assert [(r["algorithm"], r["state"]) for r in rows] == [("noop", "found"), ("old", "incompatible")]
    assert rlkit("algorithms")[1].splitlines()[1].split() == ["noop", "fx-algorithm", "1.0", "found"]


@pytest.mark.covers("state:shadowed")
def test_shadowed_copies_are_listed(make_site, capsys, monkeypatch):
    first, second = make_site("first"), make_site("second")
    for site, version in ((first, "2.0"), (second, "1.0")):
        site.add("lab", version=version, groups={"rlkit.algorithms": {"x": "m:C"}})
    monkeypatch.setattr(discovery, "_cached", discovery._read([str(first.path), str(second.path)]))
    listing.show("algorithms")
    out = capsys.readouterr().out
    assert "shadowed" in out
    assert "uninstall one of the two" in out


def test_a_typo_gets_a_suggestion(rlkit):
    code, _, err = rlkit("plugin")
    assert code == 2
    assert "No such command 'plugin'. Did you mean 'plugins'?" in err


def test_a_command_that_is_not_installed_names_what_to_install(rlkit):
    code, _, err = rlkit("watch", "runs/x")
    assert code == 2
    assert "No such command 'watch'. It comes with rlkit-tools: pip install rlkit-tools" in err


@pytest.mark.covers("group:rlkit.commands")
def test_commands_of_plugins(site, rlkit):
    site.fixture("fx-command")
    assert rlkit("hello", "there")[1] == "hello there\n"
    code, out, _ = rlkit("--help")
    assert code == 0
    assert "From plugin fx-command 1.0." in out
    assert out.count("  train ") == 1
    code, _, err = rlkit("three")
    assert code == 2
    assert "expected a click command" in err


def test_a_command_of_a_plugin_never_shadows_one_of_rlkit(site, rlkit):
    site.fixture("fx-command")
    assert "this must never run" not in "".join(map(str, rlkit("train")))
    code, out, _ = rlkit("doctor", "--json")
    check = next(c for c in json.loads(out)["checks"] if (c["what"], c["name"]) == ("rlkit.commands", "train"))
    assert (check["state"], code) == ("failed", 1)
    assert "of its own" in check["reason"]


def test_errors_are_one_message_and_tracebacks_are_for_debugging(site, rlkit):
    site.add("lab", "import nobody_has_this\n", groups={"rlkit.commands": {"broken": "lab:cmd"}})
    code, out, err = rlkit("broken")
    assert (code, out) == (2, "")
    assert err.startswith("Error: command 'broken' cannot be used: plugin lab 1.0")
    assert "No module named 'nobody_has_this'" in err
    assert "Traceback" not in err
    assert "Traceback" in rlkit("broken", "--debug")[2]


@pytest.mark.covers("variable:RLKIT_DEBUG")
@pytest.mark.parametrize(("value", "shown"), [("1", True), ("off", False), ("", False)])
def test_the_variable_for_debugging_shows_tracebacks_too(site, rlkit, value, shown):
    site.add("lab", "import nobody_has_this\n", groups={"rlkit.commands": {"broken": "lab:cmd"}})
    code, _, err = rlkit("broken", RLKIT_DEBUG=value)
    assert code == 2
    assert ("Traceback" in err) is shown


def test_disabled_commands_say_so(site, rlkit):
    site.fixture("fx-command")
    code, _, err = rlkit("hello", RLKIT_PLUGINS="")
    assert code == 2
    assert "RLKIT_PLUGINS does not name it" in err


def test_unknown_names_in_variables_are_one_plain_line(site, rlkit):
    _, _, err = rlkit("plugins", RLKIT_PLUGINS_DISABLE="nobody")
    assert err == "Warning: RLKIT_PLUGINS_DISABLE names 'nobody': no such plugin is installed.\n"


# ------------------------------------------------------------------ doctor


def test_doctor_reports_every_failure_with_reason_traceback_and_remedy(site, rlkit):
    site.fixture("fx-good", "fx-import-error", "fx-exit", "fx-unknown-hook", "fx-newer-api", "fx-incompatible")
    code, out, _ = rlkit("doctor", "--json")
    assert code == 1
    checks = {c["distribution"]: c for c in json.loads(out)["checks"] if c["what"] == "rlkit.plugins"}
    assert {n: c["state"] for n, c in checks.items()} == {
        "rlkit-core": "ok",
        "fx-good": "ok",
        "fx-import-error": "failed",
        "fx-exit": "failed",
        "fx-unknown-hook": "failed",
        "fx-newer-api": "failed",
        "fx-incompatible": "incompatible",
    }
    assert "fx_module_that_nobody_has" in checks["fx-import-error"]["reason"]
    assert "install 'fx_module_that_nobody_has'" in checks["fx-import-error"]["remedy"]
    assert "fx-exit says goodbye" in checks["fx-exit"]["traceback"]
    assert "Did you mean 'rlkit_heads'" in checks["fx-unknown-hook"]["reason"]
    assert "pip install --upgrade rlkit-core" in checks["fx-newer-api"]["remedy"]
    assert "requires rlkit-core>=7" in checks["fx-incompatible"]["reason"]


def test_doctor_as_text(site, rlkit):
    site.fixture("fx-import-error", "fx-good")
    code, out, _ = rlkit("doctor")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("rlkit-core 0.1.0, plugin-api 1.0, python 3.")
    start = lines.index("FAILED       fx-import-error 1.0  plugins import-error")
    assert "ModuleNotFoundError" in lines[start + 1]
    assert lines[start + 2].startswith("    | ")
    assert any(line.startswith("    remedy: install") for line in lines[start:])
    assert "OK           fx-good 1.0  encoder text" in lines


def test_doctor_lists_services_and_imports_them(site, rlkit):
    site.add(
        "lab-x",
        "from rlkit_core import hookimpl\nfrom rlkit_core.plugins.records import Service\nrlkit_api = '1.0'\n"
        "@hookimpl\ndef rlkit_services():\n"
        "    fast = Service('step_engine', 'fast', 'rlkit_core.learner.step:Eager')\n"
        "    return [fast, Service('callbacks', 'gone', 'json:Nothing')]\n",
    )
    code, out, _ = rlkit("doctor", "--json")
    checks = {(c["what"], c["name"]): c for c in json.loads(out)["checks"] if c["distribution"] == "lab-x"}
    assert checks["step engine", "fast"]["state"] == "ok"
    broken = checks["callbacks", "gone"]
    assert (broken["state"], code) == ("failed", 1)
    assert "callbacks 'lab-x/gone': its target 'json:Nothing' cannot be imported" in broken["reason"]
    assert "RLKIT_PLUGINS_DISABLE=lab-x" in broken["remedy"]


def test_doctor_imports_the_targets_of_records(site, rlkit):
    site.fixture("fx-gap-a")
    (site.path / "fx_gap_a" / "encoder.py").write_text("raise SystemExit('target gone')")
    out = rlkit("doctor", "--json")[1]
    check = next(c for c in json.loads(out)["checks"] if c["name"] == "graph")
    assert check["state"] == "failed"
    assert "target gone" in check["traceback"]


def test_what_plugins_print_does_not_spoil_the_json(site, rlkit):
    site.add("lab", 'print("hi")\nrlkit_api = "1.0"\n')
    _, out, err = rlkit("doctor", "--json")
    assert json.loads(out)
    assert "hi" in err


def test_doctor_goes_on_in_strict_mode(site, rlkit):
    site.fixture("fx-exit", "fx-good")
    out = rlkit("doctor", "--json", RLKIT_PLUGINS_STRICT="1")[1]
    assert {c["state"] for c in json.loads(out)["checks"] if c["distribution"] == "fx-good"} == {"ok"}


def test_every_built_in_command_has_a_help_line_and_a_home():
    own = {
        "algorithms",
        "check",
        "check-env",
        "config",
        "doctor",
        "envs",
        "evaluate",
        "explain",
        "plugins",
        "presets",
        "resume",
        "settings",
        "train",
    }
    assert set(app.BUILT_IN) == own | {"verify"}
    assert doctor.doctor.name == "doctor"


def test_rlkits_own_commands_are_its_own_in_any_spelling(site, rlkit):
    site.add("evil", "raise AssertionError('imported')", groups={"rlkit.commands": {"Train": "evil:cmd"}})
    code, out, _ = rlkit("Train", "--help")
    assert code == 0
    assert "Train ALGO" in out
    assert "evil" not in rlkit("--help")[1]


def test_what_is_odd_about_metadata_is_shown(site, rlkit):
    info = site.add("lab", groups={"rlkit.catalogs": {"x": "json:JSONDecoder"}})
    (info / "entry_points.txt").write_text("[rlkit.catalogs]\nx = json:JSONDecoder\n[rlkit.plugin]\ny = z\n")
    said = "[rlkit.plugin] is no group of rlkit's: did you mean [rlkit.plugins]?"
    assert f"    note: {said}\n" in rlkit("plugins")[1]
    (row,) = [p for p in json.loads(rlkit("plugins", "--json")[1])["plugins"] if p["name"] == "lab"]
    assert row["notes"] == [said]
    out = rlkit("doctor")[1]
    assert f"NOTE         lab 1.0  distribution lab\n    {said}\n" in out


def test_names_are_shown_as_the_terminal_can_show_them(site, rlkit, monkeypatch):
    site.add("lab", groups={"rlkit.algorithms": {"caf\xe9\x1b[31mred\x1b]0;title\x07\u202e": "m:C"}})
    out = rlkit("algorithms")[1]
    assert "caf\xe9red  " in out
    assert "\x1b" not in out
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True))
    for what in ("algorithms", "plugins"):
        listing.show(what)
        listing.show(what, as_json=True)
    text = sys.stdout.buffer.getvalue().decode("ascii")
    assert r"caf\xe9red" in text
    assert r"caf\u00e9\u001b[31mred" in text
