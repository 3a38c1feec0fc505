"""Every command of the plugin is held to what the core's are: help, completion, and one message at bad input."""

from __future__ import annotations

import sys
from importlib.metadata import distribution

import gymnasium as gym
import pytest
from command_line import check_help, check_one_message, completed, rlkit

OURS = sorted(one.name for one in distribution("rlkit-tools").entry_points.select(group="rlkit.commands"))

BAD = [
    (["compare", "nowhere"], "'nowhere' does not exist"),
    (["compare", "empty"], "empty is no run folder, and has none in it: name one"),
    (["compare", "broken"], "broken/config.json holds no settings"),
    (["compare", "mine", "--csv", "a.file/table.csv"], "a.file is a file"),
    (["compare", "mine", "--csv", "empty"], "'empty' is a directory"),
    (["compare", "mine", "--png", "curves.txt"], "the name has to end in .png"),
    (["export", "nowhere", "policy.onnx"], "no checkpoint at"),
    (["export", "empty", "policy.onnx"], "not a checkpoint"),
    (["export", "mine", "policy.onnx"], "has no checkpoint"),
    (["export", "mine", "policy.txt"], "the name has to end in .onnx or .pt2"),
    (["export", "mine", "a.file/policy.onnx"], "a.file is a file"),
    (["record", "nowhere"], "no checkpoint at"),
    (["record", "mine"], "has no checkpoint"),
    (["record", "mine", "-o", "video.gif"], "the name has to end in .mp4"),
    (["record", "mine", "-o", "a.file/video.mp4"], "a.file is a file"),
    (["report", "empty"], "empty is no run folder"),
    (["report", "mine", "-o", "page.pdf"], "the name has to end in .html"),
    (["report", "mine", "-o", "a.file/page.html"], "a.file is a file"),
    (["tune", "nobody-has-this", "CartPole-v1"], "No algorithm 'nobody-has-this'"),
    (["tune", "ac", "CartPol-v1"], "Did you mean 'CartPole-v1'?"),
    (["tune", "CartPole-v1", "ac"], "ALGO comes before ENV"),
    (["tune", "ac", "CartPole-v1"], "--ranges FILE"),
    (["tune", "ac", "CartPole-v1", "--ranges", "a.file"], "expected ranges as JSON"),
    (["tune", "ac", "CartPole-v1", "--ranges", "lr.json", "--folder", "a.file/study"], "name another --folder"),
    (["tune", "ac", "CartPole-v1", "--ranges", "lr.json", "--folder", "mine"], "mine is a run folder"),
    (["tune", "ac", "CartPole-v1", "--set", "seed=3"], "counted from --seed"),
    (["watch", "empty"], "empty is no run folder: name one"),
]


@pytest.fixture
def here(tmp_path, monkeypatch, write_run):
    """A folder with a run without results, ``mine``, and what is none."""
    write_run(tmp_path / "mine", curve=())
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{ broken")
    (tmp_path / "a.file").write_text("{ broken")
    (tmp_path / "lr.json").write_text('{"lr": [1e-3, 1e-4]}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", OURS)
def test_help_teaches_by_examples_that_the_parser_takes(name):
    check_help(name)


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_message(words, says, here):
    if words[0] == "tune":
        pytest.importorskip("optuna")
    if words[0] == "record":
        pytest.importorskip("imageio_ffmpeg")
    check_one_message(words, says)


def test_every_command_is_tried_with_bad_input():
    assert {words[0] for words, _ in BAD} == set(OURS)


MISSING = [
    ("matplotlib.figure", "compare mine --png curves.png", "plots"),
    ("imageio_ffmpeg", "record mine", "video"),
    ("optuna", "tune ac CartPole-v1 --ranges lr.json", "tune"),
]


@pytest.mark.parametrize(("module", "line", "extra"), MISSING)
def test_a_missing_package_is_named_with_its_extra(module, line, extra, here, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    check_one_message(line.split(), f"pip install 'rlkit-tools[{extra}]'")


def test_a_run_without_results(here):
    assert "PPO" in rlkit("compare", "mine", "--csv", "new/table.csv").stdout
    assert (here / "new" / "table.csv").exists()
    assert rlkit("report", "mine", "-o", "pages/mine.html").stdout == "pages/mine.html: 1 run\n"
    told = rlkit("watch", "mine")
    assert told.exit_code == 0
    assert "no checkpoint to go on from" in told.stdout


def test_no_curve_is_no_picture(here):
    pytest.importorskip("matplotlib")
    check_one_message(["compare", "mine", "--png", "curves.png"], "no run has a return yet")


def test_names_are_completed_without_importing_torch(tmp_path):
    assert "ac" in completed("rlkit tune a", home=tmp_path)
    cart_poles = sorted(name for name in gym.registry if name.startswith("CartP"))
    assert completed("rlkit tune ac CartP", home=tmp_path) == cart_poles
    assert completed("rlkit export --env CartP", home=tmp_path) == cart_poles
    assert completed("rlkit record --env CartP", home=tmp_path) == cart_poles
    for name in ("compare", "report"):
        assert (
            completed(f"rlkit {name} ru", home=tmp_path) == ["ru"] == completed(f"rlkit {name} one ru", home=tmp_path)
        )
    assert completed("rlkit watch ru", home=tmp_path) == ["ru"]
