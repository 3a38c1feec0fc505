"""``rlkit train`` and ``rlkit evaluate``: the command line's own work in process, its ends in real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.cli.app import cli
from rlkit_core.cli.config.made import Given, stop_criteria
from rlkit_core.cli.given import apply_setting, parse_value
from rlkit_core.errors import ConfigError
from rlkit_core.run.stop import Stop, reward_threshold

SMALL = [
    "--no-preset",
    "--set", "train_batch_size=64",
    "--set", "minibatch_size=32",
    "--set", "num_epochs=1",
    "--set", "num_envs_per_env_runner=4",
    "--set", "model_config.fcnet_hiddens=[8]",
    "--evaluate", "2",
    "--seed", "1",
]  # fmt: skip
COMMAND = [sys.executable, "-c", "from rlkit_core.cli import main; main()"]
HELPERS = str(Path(__file__).parents[1] / "helpers")  # where `ac` is "installed"
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": HELPERS}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def rlkit(*args: Any, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], **kwargs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small run."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = rlkit("train", "ac", "CartPole-v1", "--run-dir", folder, "--stop-iters", 3, *SMALL)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "settings: ACConfig's defaults",
        "until: mean return 475 or 3 iterations",
        f"run folder: {folder}",
    ]
    assert re.match(r"iteration 1: return \S+ \| eval - \| 64 steps \| \S+ steps/s \| loss \S+ \| 0:0\d$", lines[3])
    summary = {line[:11].strip(): line[12:] for line in lines if re.match(r"[a-z ]{11} \S", line)}
    assert summary["result"].startswith("ended after 3 iterations: mean return ")
    assert summary["result"].endswith(" over 2 deterministic evaluation episodes (target 475)")
    assert summary["run folder"] == str(folder)
    assert Path(summary["checkpoint"]) == folder / "checkpoints" / "000003"
    assert Path(summary["plot"]).read_bytes().startswith(b"\x89PNG")
    assert not CONTROL.search(result.output)
    return folder


def test_the_run_folder_holds_what_was_asked_for(trained: Path) -> None:
    config = AlgorithmConfig.from_json((trained / "config.json").read_text())
    assert (config.env, config.seed, config.train_batch_size) == ("CartPole-v1", 1, 64)
    assert config.model_config["fcnet_hiddens"] == [8]
    assert len((trained / "progress.csv").read_text().splitlines()) == 4
    assert list((trained / "tensorboard").iterdir())
    assert "fx-actor-critic" in json.loads((trained / "versions.json").read_text())["plugins"]


def test_profile_says_where_the_time_went(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begun = rlkit("train", "ac", "CartPole-v1", "--run-dir", run, "--stop-iters", 2, "--profile", "--quiet", *SMALL)
    said = json.loads((run / "profile.json").read_text())
    assert said["env_steps"] == 128
    gone_on = rlkit("resume", run, "--more-steps", 64, "--profile", "--no-plot", "--quiet")
    assert json.loads((run / "profile.json").read_text())["env_steps"] == 64
    for result, steps in ((begun, 128), (gone_on, 64)):
        assert result.exit_code == 0, result.output
        head, *rows = result.stdout[result.stdout.index("where the time went") :].splitlines()
        assert re.fullmatch(rf"where the time went: \d+\.\d\d s, {steps} env steps", head)
        assert rows[0].split() == ["part", "seconds", "share", "µs", "a", "step"]
        parts = {row.split()[0] for row in rows[1:]}
        assert parts >= {"building", "env", "acting", "learner", "sync", "evaluation", "logs", "checkpoints", "other"}


def test_evaluate_reads_checkpoint_and_run_folder(trained: Path) -> None:
    said = rlkit("evaluate", trained, "--episodes", 3, "--seed", 7)
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith(f"CartPole-v1, 3 deterministic episodes with {trained / 'checkpoints' / '000003'}")
    one, two = (
        json.loads(rlkit("evaluate", path, "--episodes", 3, "--seed", 7, "--json").stdout)
        for path in (trained, trained / "checkpoints" / "000003")
    )
    assert one["num_episodes"] == 3
    assert one["episode_return_mean"] == two["episode_return_mean"]
    shown = f"{one['episode_return_mean']:.1f} ± {one['episode_return_stderr']:.1f}"
    assert f"episode_return_mean  {shown}\n" in said.stdout
    sampled = rlkit("evaluate", trained, "--episodes", 3, "--seed", 7, "--sampled", "--json").stdout
    assert json.loads(sampled)["episode_return_mean"] != one["episode_return_mean"]
    said = rlkit("evaluate", trained, "--episodes", 1, "--sampled").stdout
    assert "1 sampled episodes" in said
    assert "±" not in said


def test_evaluate_in_another_env_of_the_same_spaces(trained: Path) -> None:
    found = json.loads(rlkit("evaluate", trained, "--episodes", 2, "--env", "CartPole-v0", "--json").stdout)
    assert found["env"] == "CartPole-v0"
    assert found["episode_len_max"] <= 200
    refused = rlkit("evaluate", trained, "--episodes", 2, "--env", "Acrobot-v1")
    assert refused.exit_code == 2
    assert "Error: " in refused.stderr


def test_warnings_are_one_plain_line(tmp_path: Path) -> None:
    result = rlkit("train", "ac", "CartPole-v0", "--run-dir", tmp_path / "run", "--stop-iters", 1, "--no-plot", *SMALL)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert result.stderr.count("CartPole-v0 is out of date") == 1
    assert not CONTROL.search(result.stderr)


def test_a_component_that_does_not_exist_is_refused_before_training(tmp_path: Path) -> None:
    result = rlkit("train", "ac", "Blackjack-v1", "--run-dir", tmp_path / "run", "--set", "components.encoder=nobody/x")
    assert result.exit_code == 2
    assert "nobody/x" in result.stderr
    assert not (tmp_path / "run").exists()


def test_resume_goes_on_in_the_same_folder(trained: Path, tmp_path: Path) -> None:
    args = ("--stop-iters", 5, "--evaluate", 2, "--no-plot", "--quiet")
    result = rlkit("train", "ac", "CartPole-v1", "--resume", trained, *args)
    assert result.exit_code == 0, result.output
    assert "320 steps, 5 iterations" in result.stdout
    rows = (trained / "progress.csv").read_text().splitlines()
    assert len(rows) == 6
    config = AlgorithmConfig.from_json((trained / "config.json").read_text())
    assert config.train_batch_size == 64
    assert json.loads((trained / "seeds.json").read_text()) == {"seed": 1}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["ac", "CartPol-v1"], "Did you mean 'CartPole-v1'?"),
        (["acc", "CartPole-v1"], "No algorithm 'acc'. Did you mean 'ac'"),
        (["ac", "CartPole-v1", "--set", "learning_rate=1"], "Did you mean 'lr'?"),
        (["ac", "CartPole-v1", "--set", "lr=fast"], "training(lr='fast'): expected a number"),
        (["ac", "CartPole-v1", "--set", "lr"], "expected KEY=VALUE"),
        (["ac", "CartPole-v1", "--set", "minibatch_size=9999"], "minibatch_size"),
        (["CartPole-v1", "ac"], "ALGO comes before ENV, and ac is an algorithm: "),
        (["ac", "CartPole-v1", "--set", "env=Acrobot-v1"], "the environment is given as CartPole-v1 too"),
        (["ac", "CartPole-v1", "--set", "lr=1", "--set", "lr =2"], "lr is set by --set lr=1 too; keep one of them"),
        (["ac", "CartPole-v1", "--seed", "0", "--set", "seed=2"], "--seed is given as 0 too; keep one of them"),
        (
            ["ac", "CartPole-v1", "--video-every", "2", "--set", "plugin.rlkit-tools.video_every=3"],
            "--video-every is given as 2 too",
        ),
        (["ac", "CartPole-v1", "--wrap", "atari", "--set", "wrappers=[]"], "--wrap is given as atari too"),
        (["ac", "CartPole-v1", "--stop-return", "nan"], "Stop(return_mean=nan): expected a number (or None)"),
        (["ac", "CartPole-v1", "--resume", "nowhere"], "no checkpoint at"),
        (
            ["ac", "CartPole-v1", "--resume", "nowhere", "--seed", "1"],
            "leave out --seed, --config, --preset, --no-preset, --video-every, --log and --from",
        ),
    ],
)
def test_mistakes_end_at_once_with_one_message(tmp_path: Path, args: list[str], says: str) -> None:
    result = rlkit("train", *args, "--run-dir", tmp_path / "run")
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("acc", "CartPole-v1"), ("CartPole-v1", "ac"), ("sacc", "ac/x")])
def test_a_mistyped_algorithm_costs_no_import_of_torch(words: tuple[str, str]) -> None:
    show = "print(sorted({'torch', 'numpy', 'gymnasium'} & set(sys.modules)))"
    code = f"import sys\nfrom rlkit_core.cli import main\ntry:\n    main()\nfinally:\n    {show}"
    for command in (["train"], ["explain"], ["config", "show"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *command, *words], env=ENV, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "[]\n"), done.stderr


def test_resume_refuses_another_environment(trained: Path) -> None:
    result = rlkit("train", "ac", "Acrobot-v1", "--resume", trained)
    assert result.exit_code == 2
    assert "was trained in 'CartPole-v1', not 'Acrobot-v1'" in result.stderr


def test_a_used_run_folder_is_not_overwritten(trained: Path) -> None:
    before = (trained / "progress.csv").read_text()
    result = rlkit("train", "ac", "CartPole-v1", "--run-dir", trained, "--stop-iters", 1, *SMALL)
    assert result.exit_code == 2
    assert "is not empty" in result.stderr
    assert (trained / "progress.csv").read_text() == before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3e-4", 3e-4),
        ("[[0, 1e-3], [100, 0]]", [[0, 1e-3], [100, 0]]),
        ("{'a': (1, 2)}", {"a": (1, 2)}),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("auto", "auto"),
        ("'quoted'", "quoted"),
        ("", ""),
    ],
)
def test_values_as_json_or_python_write_them(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_settings_from_texts() -> None:
    config = AlgorithmConfig()
    for text in (
        "lr=3e-4",
        "model_config.fcnet_hiddens=[4, 4]",
        "env_config.a.b=1",
        "env_config.a.c=x=y",
        "seed = 3",
    ):
        apply_setting(config, text)
    assert (config.lr, config.seed) == (3e-4, 3)
    assert config.model_config["fcnet_hiddens"] == [4, 4]
    assert config.env_config == {"a": {"b": 1, "c": "x=y"}}
    apply_setting(config, "components.encoder:camera.front=lab/depth")
    assert config.components == {"encoder:camera.front": "lab/depth"}
    for text in ("lr.x=1", "env_config.a.b.c=1", "=1"):
        with pytest.raises(ConfigError):
            apply_setting(config, text)


def test_what_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def criteria(own: Stop, env: str = "CartPole-v1", **kwargs: Any) -> Stop:
        return stop_criteria(own, AlgorithmConfig().environment(env), Given(**kwargs))

    assert reward_threshold("CartPole-v1") == 475
    assert criteria(Stop()) == Stop(return_mean=475.0, steps=1_000_000)
    assert criteria(Stop(iterations=3), "Pendulum-v1") == Stop(iterations=3)
    preset = {"CartPole-v1": {"stop": {"return": 400, "steps": 5000, "patience": 7}}}
    monkeypatch.setattr("rlkit_core.algorithm.config.presets.load_presets", lambda config_class: preset)
    assert criteria(Stop()) == Stop(return_mean=400, steps=5000, patience=7)
    assert criteria(Stop(return_mean=10)) == Stop(return_mean=10, steps=5000, patience=7)
    assert criteria(Stop(seconds=9)) == Stop(return_mean=400, seconds=9, patience=7)
    assert criteria(Stop(), preset=False) == Stop(return_mean=475.0, steps=1_000_000)
    assert criteria(Stop(), preset={"stop": {"iterations": 2}}) == Stop(return_mean=475.0, iterations=2)


def test_a_preset_of_a_file_takes_the_place_of_the_algorithms(tmp_path: Path) -> None:
    file = tmp_path / "preset.json"
    preset = {"training": {"lr": 0.002, "gamma": 0.9}, "rl_module": {"model_config": {"fcnet_hiddens": [4]}}}
    file.write_text(json.dumps({**preset, "stop": {"iterations": 1}}))
    asked = ["train", "ac", "CartPole-v1", "--run-dir", tmp_path / "run", "--preset", file]
    result = rlkit(*asked, *SMALL[1:5], "--set", "gamma=0.8", "--evaluate", 1)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert (settings["lr"], settings["gamma"], settings["model_config"]["fcnet_hiddens"]) == (0.002, 0.8, [4])
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["iterations"] == 1
    file.write_text('{"trainig": {}}')
    result = rlkit(*asked[:3], "--preset", file)
    assert result.exit_code == 2
    assert "no section 'trainig'" in result.output
    assert rlkit(*asked, "--no-preset").exit_code == 2


def start(folder: Path, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
    command = [*COMMAND, "train", "ac", "CartPole-v1", "--run-dir", str(folder), *SMALL, *args]
    return subprocess.Popen(command, env=ENV, stderr=subprocess.PIPE, text=True, **kwargs)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_training_leaves_a_checkpoint_that_acts(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    with start(folder, "--stop-steps", "100000000", "--stop-return", "1e9", stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        results = folder / "results.jsonl"
        while time.monotonic() < deadline and not (results.exists() and results.stat().st_size > 0):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=150)  # where the machine has much else to do
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "interrupted: not evaluated" in out
    assert not CONTROL.search(out + err)
    iterations = json.loads((folder / "summary.json").read_text())["iterations"]
    assert len(results.read_text().splitlines()) == iterations >= 1
    evaluated = rlkit("evaluate", folder, "--episodes", 2)
    assert evaluated.exit_code == 0, evaluated.output


def test_a_terminal_shows_a_panel_and_the_same_summary(tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    with start(tmp_path / "run", "--stop-iters", "2", stdout=inner) as process:
        os.close(inner)
        shown = b""
        while select.select([terminal], [], [], 120)[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        process.wait(60)
    os.close(terminal)
    text = shown.decode()
    assert process.returncode == 0, text
    assert "\x1b[" in text
    assert "128 steps   iteration 2   " in text
    assert "until mean return 475 or 2 iterations" in text
    assert "ended after 2 iterations: mean return" in text


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_no_run(tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    with start(tmp_path / "run", "--stop-iters", "60", stdout=inner) as process:
        os.close(inner)
        assert select.select([terminal], [], [], 120)[0]
        os.close(terminal)  # before training begins
        process.wait(120)
    assert process.returncode == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["iterations"] == 60


def test_a_plugins_callback_named_on_the_command_line_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(
        "from rlkit_core import hookimpl\nfrom rlkit_core.plugins.records import Service\n\nrlkit_api = '1.0'\n\n\n"
        "class EarlyStop:\n    def on_train_result(self, result):\n"
        "        return result['training_iteration'] < 2\n\n\n"
        "@hookimpl\ndef rlkit_services():\n    return [Service('callbacks', 'early-stop', EarlyStop)]\n"
    )
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\nRequires-Dist: rlkit-core\n")
    (info / "entry_points.txt").write_text("[rlkit.plugins]\nacme = acme\n")
    done = subprocess.run(
        [*COMMAND, "train", "ac", "CartPole-v1", "--run-dir", str(tmp_path / "run"), "--stop-iters", "9", *SMALL,
         "--set", 'plugins=["acme/early-stop"]', "--no-plot"],
        env={**ENV, "PYTHONPATH": f"{HELPERS}:{tmp_path}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ended by the callback on_train_result=EarlyStop.on_train_result: mean return" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["reason"], summary["iterations"]) == ("stopped", 2)
    assert Path(summary["checkpoint"]).is_dir()
