"""What `rlkit doctor` says of plugins that load and yet keep no contract, and of those that end or hang Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlkit_core import contracts
from rlkit_core.cli import isolated
from rlkit_core.plugins import host as host_module
from rlkit_core.plugins.contract.signatures import Call, method_problems
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS, GROUP_CATALOGS, Snapshot

# ------------------------------------------------------------------ contracts

PLUGIN = """
from gymnasium.spaces import Graph
from rlkit_core import Component, ModuleAPI, hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"
ENCODERS = "IsInt NoMaker NotOfClass TooFew Abstract NoneMaker NoSetup OddSetup Fine"
SERVICES = "executor learner_group step_engine writer callbacks env_wrapper framework"


@hookimpl
def rlkit_encoders():
    return [Component(name, "encoder", f"lab_parts:{name}", [Graph]) for name in ENCODERS.split()]


@hookimpl
def rlkit_heads():
    return [Component("Fine", "head", "lab_parts:Fine", [Graph])]


@hookimpl
def rlkit_distributions():
    return [Component(n, "distribution", f"lab_parts:{n}", [Graph]) for n in ("Half", "Odd", "Mapped", "Undrawn")]


@hookimpl
def rlkit_module_apis():
    drivers = "Misspelt Unmade Awaited Declared FineDriver"
    apis = [ModuleAPI(name, "lab_parts:API", f"lab_parts:{name}") for name in drivers.split()]
    return [*apis, ModuleAPI("Foreign", "rlkit_core.apis:QNetAPI"), ModuleAPI("Python", "abc:ABC")]


@hookimpl
def rlkit_services():
    return [Service(kind, f"{kind}-{i}", f"lab_parts:{kind}_{i}") for kind in SERVICES.split() for i in (0, 1)]
"""

PARTS = """
from typing import Protocol

from rlkit_core.distributions import Categorical, Distribution
from rlkit_core.execution import LocalExecutor
from rlkit_core.learner import LearnerGroup
from rlkit_core.learner.step import Eager
from rlkit_core.models import ModelConfig, SpaceEncoder
from rlkit_core.run.writers import CSVWriter

IsInt = int


class API:
    pass


class Misspelt:
    def extra_los(self, batch):
        return 0.0

    def after_update(self, batches):
        return None


class Unmade:
    def __init__(self, size):
        self.size = size


class Awaited:
    async def extra_loss(self, batch):
        return 0.0


class Event(Protocol):
    def before_update(self, *, batch):
        ...


class Declared(Event):
    pass


class FineDriver:
    def extra_loss(self, module, fwd_out):
        return 0.0

    @staticmethod
    def on_module_built(module):
        return None


class Config(ModelConfig):
    output_dims = (1,)

    def build(self, framework="torch"):
        return None


class NoSetup(SpaceEncoder):
    pass


class OddSetup(SpaceEncoder):
    def setup(self, space):
        pass


class NoMaker(Config):
    @classmethod
    def from_spaces(cls, space, model_config):
        return cls()


class NotOfClass(Config):
    def from_space(self, space, model_config):
        return self


class TooFew(Config):
    @classmethod
    def from_space(cls, space, child):
        return cls()

    def build(self):
        return None


class Abstract(ModelConfig):
    @classmethod
    def from_space(cls, space, model_config):
        return cls()


class NoneMaker(Config):
    from_space = None


class Fine(Config):
    @classmethod
    def from_space(cls, space, model_config, child):
        return cls()

    @classmethod
    def from_dims(cls, input_dims, output_dim, model_config):
        return cls()


class Half(Distribution):
    pass


class Odd(Categorical):
    def from_logits(self, logits):
        return self

    def logp(self):
        return 0

    async def to_deterministic(self):
        return self


Mapped = dict


class Undrawn(Distribution):
    @classmethod
    def from_logits(cls, logits):
        return cls()

    @classmethod
    def required_input_dim(cls, space, model_config):
        return 1

    def logp(self, value):
        return value

    def to_deterministic(self):
        return self


class executor_0:
    in_process = concurrent = False
    threads = None

    def spawn(self, factory):
        return factory()

    def publish(self):
        return None

    def wait(self, futures, timeout):
        return futures, []

    def restart(self, handle):
        return handle

    def stop(self, handle=None):
        return None

    def __enter__(self):
        return self


class writer_0:
    def __init__(self, run_dir):
        self.run_dir = run_dir

    def write(self, result, step):
        return None


class step_engine_0:
    def __init__(self, learner):
        self.learner = learner

    def step(self, minibatch):
        return None


class callbacks_0:
    def on_train_results(self, result):
        return None


env_wrapper_0 = "no class"
learner_group_0, learner_group_1 = dict, LearnerGroup
framework_0 = framework_1 = dict
executor_1, writer_1, step_engine_1 = LocalExecutor, CSVWriter, Eager


class callbacks_1:
    def on_train_result(self, result):
        return None


def env_wrapper_1(env, bonus=1.0):
    return env
"""

EXPECTED = {
    ("encoder", "IsInt"): ["its target is <class 'int'>, expected a subclass of rlkit_core.models.ModelConfig"],
    ("encoder", "NoMaker"): ["no class method from_space(space, model_config)", "Did you mean 'from_spaces'?"],
    ("encoder", "NotOfClass"): ["NotOfClass.from_space is called on the class: write @classmethod above it"],
    ("encoder", "TooFew"): ["from_space is called as (space, model_config, child)", "build is called as (framework=)"],
    ("encoder", "Abstract"): ["Abstract is abstract: write build, output_dims"],
    ("encoder", "NoneMaker"): ["NoneMaker.from_space is NoneType, expected a method"],
    ("encoder", "NoSetup"): ["NoSetup has no setup(space, model_config), which makes its layers"],
    ("encoder", "OddSetup"): ["OddSetup.setup is called as (space, model_config)"],
    ("distribution", "Half"): ["Half is abstract: write from_logits, logp", "write draw(sample_shape, noise)"],
    ("distribution", "Odd"): ["Odd.from_logits is called on the class", "Odd.logp is called as (value)", "async def"],
    ("distribution", "Mapped"): ["expected a subclass of rlkit_core.Distribution"],
    ("distribution", "Undrawn"): ["Undrawn cannot be drawn from: write draw(sample_shape, noise) or sample()"],
    ("module API", "Misspelt"): ["Did you mean 'extra_loss'?", "after_update() takes 'batches', which is never given"],
    ("module API", "Unmade"): ["Unmade is called as (): missing a required argument: 'size'"],
    ("module API", "Awaited"): ["Awaited.extra_loss is 'async def', and nothing awaits it"],
    ("module API", "Declared"): ["Declared.before_update is declared by a Protocol, and not written"],
    ("module API", "Foreign"): ["is of rlkit-core; a record names a mixin of its own distribution, lab"],
    ("module API", "Python"): ["its mixin abc.ABC is Python's own"],
    ("executor", "executor-0"): [
        "spawn is called as (factory, *args, **kwargs)",
        "no published(). Did you mean 'publish'?",
        "wait is called as (futures): missing a required argument: 'timeout'",
        "no __exit__(*exc)",
    ],
    ("writer", "writer-0"): ["is called as (run_dir, config, resume_at)", "write is called as (result)", "no close()"],
    ("learner group", "learner_group-0"): ["<class 'dict'>, expected a subclass of rlkit_core.LearnerGroup"],
    ("step engine", "step_engine-0"): ["no begin_update()", "no end_update()"],
    ("callbacks", "callbacks-0"): ["on_train_results is never called. Did you mean 'on_train_result'?"],
    ("env wrapper", "env_wrapper-0"): ["expected a class, or a function, that is called as env_wrapper(env)"],
}


@pytest.fixture
def checks_of(site, rlkit):
    def run(distribution: str) -> tuple[int, dict[tuple[str, str], dict]]:
        code, out, _ = rlkit("doctor", "--json")
        checks = json.loads(out)["checks"]
        return code, {(c["what"], c["name"]): c for c in checks if c["distribution"] == distribution}

    return run


def test_every_kind_of_part_is_held_against_its_contract(site, checks_of):
    site.add("lab", PLUGIN, lab_parts=PARTS)
    code, checks = checks_of("lab")
    assert code == 1
    failed = {key for key, check in checks.items() if check["state"] == "failed"}
    assert failed == set(EXPECTED)
    for key, texts in EXPECTED.items():
        for text in texts:
            assert text in checks[key]["reason"], (key, checks[key]["reason"])
        assert "RLKIT_PLUGINS_DISABLE=lab" in checks[key]["remedy"]
    assert {
        "Fine",
        "FineDriver",
        "executor-1",
        "writer-1",
        "learner_group-1",
        "step_engine-1",
        "callbacks-1",
        "env_wrapper-1",
        "framework-0",
    } <= {name for (_, name), check in checks.items() if check["state"] == "ok"}


ALGORITHMS = """
from gymnasium.spaces import Box
from rlkit_core import Algorithm, AlgorithmConfig, Catalog, Component

IsInt = int


class NoClass(AlgorithmConfig):
    pass


class WrongClass(AlgorithmConfig):
    algo_class = dict


class GoneClass(AlgorithmConfig):
    algo_class = "lab:Nothing"


class WrongLearner(AlgorithmConfig):
    algo_class = Algorithm

    def get_default_learner_class(self):
        return dict


class NeedsArguments(AlgorithmConfig):
    algo_class = Algorithm

    def __init__(self, size):
        super().__init__()


class Fine(AlgorithmConfig):
    algo_class = Algorithm


class Parts(Catalog):
    components = ("rlkit-core/mlp",)

    def head_config(self, slot):
        return None


class Two(Catalog):
    components = (Component("int", "encoder", int, [Box]),)
"""


def test_algorithms_and_catalogs_are_held_against_theirs(site, checks_of):
    names = ("IsInt", "NoClass", "WrongClass", "GoneClass", "WrongLearner", "NeedsArguments", "Fine")
    algorithms = {n: f"lab:{n}" for n in names}
    catalogs = {n: f"lab:{n}" for n in ("IsInt", "Parts", "Two")}
    site.add("lab", ALGORITHMS, groups={GROUP_ALGORITHMS: algorithms, GROUP_CATALOGS: catalogs})
    _, checks = checks_of("lab")
    reasons = {key: check["reason"] for key, check in checks.items()}
    assert reasons.pop((GROUP_ALGORITHMS, "Fine")) is None
    for name, text in {
        "IsInt": "is no AlgorithmConfig: make it a subclass of rlkit_core.AlgorithmConfig",
        "NoClass": "NoClass has no algo_class: write algo_class = MyAlgorithm",
        "WrongClass": "WrongClass.algo_class is <class 'dict'>, expected a subclass of rlkit_core.Algorithm",
        "GoneClass": "module 'lab' has no attribute 'Nothing'",
        "WrongLearner": "get_default_learner_class() gives <class 'dict'>",
        "NeedsArguments": "missing 1 required positional argument: 'size'",
    }.items():
        assert text in reasons[GROUP_ALGORITHMS, name]
    assert "is no catalog" in reasons[GROUP_CATALOGS, "IsInt"]
    assert "holds 'rlkit-core/mlp', expected Component records" in reasons[GROUP_CATALOGS, "Parts"]
    assert (
        "Parts.head_config is called as (slot, output_dim, input_dims, **settings)" in reasons[GROUP_CATALOGS, "Parts"]
    )
    assert "component 'int': its target is <class 'int'>" in reasons[GROUP_CATALOGS, "Two"]


def test_what_is_installed_here_keeps_every_contract():
    host = host_module.default_host()
    for one in [*host.registry.components(), *host.module_apis, *host.services()]:
        assert list(contracts.record_problems(one, host)) == [], one.id


def test_a_method_that_only_a_protocol_declares_is_missing():
    from rlkit_core.run.writers import ResultWriter

    class Lazy(ResultWriter):
        def write(self, result):
            return None

    assert list(method_problems(Lazy, ResultWriter)) == [
        f"{Lazy.__qualname__} has no close().",
    ]
    assert Call(("a",), ("b",)).problem(lambda a, *, b: None) is None
    assert Call(("a",)).problem(dict.fromkeys) is None  # Python cannot tell


# ------------------------------------------------------------------ what a plugin changes, prints, defers


def test_doctor_tells_what_an_import_changed(site, checks_of, monkeypatch):
    monkeypatch.setenv("LAB", "0")
    site.add(
        "lab", "import os\nimport torch\nos.environ['LAB'] = '1'\ntorch.set_grad_enabled(False)\nrlkit_api = '1.0'\n"
    )
    _, checks = checks_of("lab")
    notes = checks["rlkit.plugins", "lab"]["notes"]
    assert "its import changed torch.set_grad_enabled, which was put back" in notes
    assert "its import changed os.environ, which was left" in notes


# ------------------------------------------------------------------ commands


def test_help_and_completion_import_no_plugin_and_survive_a_broken_command(site, rlkit, monkeypatch):
    site.add("lab", "raise RuntimeError('out of order')\n", groups={"rlkit.commands": {"broken": "lab:cmd"}})
    code, out, _ = rlkit("--help")
    assert (code, "From plugin lab 1.0." in out) == (0, True)
    for words, found in (("rlkit bro", "broken"), ("rlkit broken --h", "--help"), ("rlkit nobody/x ", None)):
        code, out, err = complete(rlkit, monkeypatch, words)
        assert (code, err) == (0, "")
        assert found is None or found in out
    assert "lab" not in sys.modules
    code, out, _ = rlkit("broken", "--help")
    assert (code, "RuntimeError: out of order" in out) == (0, True)
    code, out, err = rlkit("broken", "--any", "thing")
    assert (code, out) == (2, "")
    assert err.startswith("Error: command 'broken' cannot be used: ")


def complete(rlkit, monkeypatch, words: str) -> tuple[int, str, str]:
    with monkeypatch.context() as patch:
        for name, value in (("_RLKIT_COMPLETE", "bash_complete"), ("COMP_WORDS", words)):
            patch.setenv(name, value)
        patch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        return rlkit()


# ------------------------------------------------------------------ a process for each


ENDINGS = {
    "quits": "import os\nos._exit(0)\n",
    "crashes": "import ctypes\nctypes.string_at(0)\n",
    "hangs": "import time\nprint('going to sleep')\nwhile True: time.sleep(1)\n",
    "speaks": "import os\nos.write(1, b'noise')\nprint('noise')\nrlkit_api = '1.0'\n",
}


def test_a_plugin_that_ends_python_costs_only_its_row(site, capfd):
    """The cheapest of the endings; the others are in the slow test below."""
    site.add("lab-quits", ENDINGS["quits"])
    snapshot = Snapshot(d for d in site.scan().distributions if d.name == "lab-quits")
    rows, times = isolated.examine_each(snapshot, timeout=60.0, timed=False)
    assert [row["state"] for row in rows] == ["failed"]
    assert "ended Python with exit code 0 while 'lab_quits' was imported" in rows[0]["reason"]
    assert times == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_plugin_in_a_process_of_its_own_costs_only_its_row(site, tmp_path):
    for name, source in ENDINGS.items():
        site.add(f"lab-{name}", source)
    late = "from rlkit_core.plugins.records import Service\nrlkit_api = '1.0'\n"
    late += "def rlkit_services():\n    return [Service('callbacks', 'late', 'lab_late_part:Late')]\n"
    site.add("lab-late", late, lab_late_part="import os\nos._exit(3)\n")
    done = doctor(site.path, "--isolated", "--timeout", "8")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    checks = {c["distribution"]: c for c in report["checks"] if c["state"] == "failed"}
    assert "ended Python with exit code 0 while 'lab_quits' was imported" in checks["lab-quits"]["reason"]
    assert (
        "ended Python with exit code -11 (SIGSEGV) while 'lab_crashes' was imported"
        in (checks["lab-crashes"]["reason"])
    )
    assert "string_at" in checks["lab-crashes"]["traceback"]
    assert "did not end within 8 seconds while 'lab_hangs' was imported" in checks["lab-hangs"]["reason"]
    assert "going to sleep" in checks["lab-hangs"]["traceback"]
    assert "exit code 3 while 'lab_late_part:Late' was imported" in checks["lab-late"]["reason"]
    assert all("RLKIT_PLUGINS_DISABLE" in check["remedy"] for check in checks.values())
    states = {c["distribution"]: c["state"] for c in report["checks"] if c["what"] == "rlkit.plugins"}
    assert states["lab-speaks"] == states["rlkit-core"] == states["lab-late"] == "ok"


@pytest.mark.slow
def test_times_name_the_slowest_import_of_each(site):
    site.add("lab-slow", "import lab_dep\nrlkit_api = '1.0'\n", lab_dep="import time\ntime.sleep(0.5)\n")
    site.add("lab-quick", "rlkit_api = '1.0'\n")
    times = json.loads(doctor(site.path, "--times").stdout)["times"]
    by_name = {time["distribution"]: time for time in times}
    assert [t["seconds"] for t in times] == sorted((t["seconds"] for t in times), reverse=True)
    assert by_name["lab-slow"]["slowest"] == "lab_dep"
    assert 0.5 <= by_name["lab-slow"]["slowest_seconds"] <= by_name["lab-slow"]["seconds"]
    assert by_name["lab-quick"]["slowest"] is None


def doctor(site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from rlkit_core.cli import main; main(sys.argv[2:])"
    return subprocess.run(
        [sys.executable, "-c", code, str(site), "doctor", "--json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "RLKIT_PLUGINS": "lab-*"},
        timeout=200,
        check=False,
    )


def test_a_time_limit_needs_processes(rlkit):
    code, _, err = rlkit("doctor", "--timeout", "3")
    assert code == 2
    assert "--timeout needs --isolated" in err
