"""Stubs of modules with settings: up to date, and worth something to a type checker."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import rlkit_core
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.settings import setting
from settings_stubs import main, stub_path, stub_text

CORE = Path(rlkit_core.__file__).parent
ROOT = Path(__file__).resolve().parents[2]


@attrs.define
class GearedConfig(AlgorithmConfig):
    algo_class = "geared.boxes:Gearbox"
    gear: int = setting(1, section="training", help="Which gear.")

    def ratio(self, of: float = 1.0) -> float:
        """Of speeds."""
        return self.gear * of


def modules_with_stubs() -> list[str]:
    files = [*sorted(CORE.rglob("*.pyi")), *sorted(ROOT.glob("plugins/*/*/*.pyi"))]
    assert files
    roots = [CORE.parent, *ROOT.glob("plugins/*")]
    relative = [
        min((file.relative_to(r) for r in roots if file.is_relative_to(r)), key=lambda p: len(p.parts))
        for file in files
    ]
    return [".".join(path.with_suffix("").parts) for path in relative]


@pytest.mark.parametrize("name", modules_with_stubs())
def test_a_stub_is_what_its_module_gives(name: str) -> None:
    module = importlib.import_module(name)
    text = stub_path(module).read_text(encoding="utf-8")
    assert text == stub_text(module), f"run `make stubs`, or python tests/helpers/settings_stubs.py {name}"


def test_every_config_module_of_ours_has_a_stub() -> None:
    for config in ROOT.glob("plugins/*/*/config.py"):
        name = f"{config.parent.name}.config"
        assert config.with_suffix(".pyi").is_file(), f"python tests/helpers/settings_stubs.py {name}"


def test_a_stub_says_what_a_checker_cannot_see() -> None:
    text = stub_text(sys.modules[__name__])
    compile(text, "stub", "exec")
    assert "from geared.boxes import Gearbox" in text
    assert "    def build(self, env: Any = ..., use_copy: bool = ...) -> Gearbox: ..." in text
    assert "        gear: int = ...," in text
    assert "        lr: float | Sequence[Sequence[float]] = ...," in text
    assert "    def ratio(self, of: float=1.0) -> float: ..." in text
    assert "def evaluation" not in text


def test_the_tool_writes_beside_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    source = "from __future__ import annotations\nimport attrs\nfrom rlkit_core.settings import Settings, setting\n"
    source += "LIMIT = 3\n@attrs.define\nclass Own(Settings):\n    size: int = setting(3, help='How big.')\n"
    (tmp_path / "own_settings_of_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    main(["own_settings_of_a_test"])
    stub = tmp_path / "own_settings_of_a_test.pyi"
    assert capsys.readouterr().out.strip() == str(stub)
    assert "class Own(Settings):\n    size: int = ...\n" in stub.read_text()
    assert "LIMIT: int" in stub.read_text()


SNIPPET = """
import attrs
from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.settings import setting

@attrs.define
class Unstubbed(AlgorithmConfig):
    beta: float = setting(0.5, section="training", help="No stub says so.")

config = AlgorithmConfig(gamma=0.9).environment("CartPole-v1").training(lr=[[0, 1e-3], [100, 0]], minibatch_size=None)
reveal_type(config)
reveal_type(config.lr)
reveal_type(config.copy())
reveal_type(Unstubbed(beta=1).training(gamma=0.5))
reveal_type(Unstubbed().beta)
AlgorithmConfig().training(lrr=1)
AlgorithmConfig().training(lr="fast")
AlgorithmConfig(gama=1)
config.gama
"""


def test_a_type_checker_sees_settings(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET)
    core = tmp_path / CORE.name
    core.symlink_to(CORE)  # beside an installed one are packages that would hide the library's
    config = core / "algorithm" / "config"
    files = [
        config / "sections.pyi",
        config / "derived.py",
        config / "declared.py",
        config / "config.py",
        *sorted(core.glob("settings/*.py")),
    ]
    command = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--ignore-missing-imports", "--config-file="]
    command += [f"--cache-dir={tmp_path / 'cache'}", "snippet.py", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=250)
    seen = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("snippet.py")]
    seen = [line for line in seen if '" defined in "' not in line]
    name = "rlkit_core.algorithm.config.config.AlgorithmConfig"
    assert seen[:5] == [
        f'note: Revealed type is "{name}"',
        'note: Revealed type is "float | list[list[float]]"',
        f'note: Revealed type is "{name}"',
        'note: Revealed type is "snippet.Unstubbed"',
        'note: Revealed type is "float"',
    ], done.stdout + done.stderr
    assert 'Unexpected keyword argument "lrr" for "training"' in seen[5]
    assert 'Argument "lr" to "training" of "CoreSettings" has incompatible type "str"' in seen[6]
    assert 'Unexpected keyword argument "gama" for "AlgorithmConfig"' in seen[7]
    assert '"AlgorithmConfig" has no attribute "gama"' in seen[8]
