"""What a plugin does to the process while it is imported."""

from __future__ import annotations

import random
import sys
import threading
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core.errors import PluginError
from rlkit_core.plugins import PluginWarning, guard
from rlkit_core.plugins.guard import describe, in_use, safe_text
from rlkit_core.plugins.quarantine import quarantined, random_states_kept
from rlkit_core.plugins.records import LOCAL, Component, Origin, Registered

HEAD = "from rlkit_core import *\nrlkit_api = '1.0'\n"


def process():
    """What learning depends on, comparable."""
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "gymnasium": dict(gym.registry),
    }


CHANGES = {
    "torch.set_grad_enabled": "import torch; torch.set_grad_enabled(False)",
    "torch.set_default_dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "torch.set_default_device": "import torch; torch.set_default_device('meta')",
    "torch.set_num_threads": "import torch; torch.set_num_threads(torch.get_num_threads() + 3)",
    "torch.set_float32_matmul_precision": "import torch; torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.benchmark": "import torch; torch.backends.cudnn.benchmark = True",
    "torch.backends.cudnn.deterministic": "import torch; torch.backends.cudnn.deterministic = True",
    "torch.use_deterministic_algorithms": "import torch; torch.use_deterministic_algorithms(True)",
    "torch.autograd.set_detect_anomaly": "import torch; torch.autograd.set_detect_anomaly(True)",
    "the state of random": "import random; random.seed(98765)",
    "the state of numpy.random": "import numpy; numpy.random.seed(98765)",
    "torch's random state": "import torch; torch.manual_seed(98765)",
    "gymnasium's CartPole-v1": "import gymnasium; gymnasium.register('CartPole-v1', 'nowhere:Env')",
    "gymnasium's Acrobot-v1": "import gymnasium; del gymnasium.registry['Acrobot-v1']",
}


@pytest.mark.filterwarnings("ignore:.*Overriding environment.*")
@pytest.mark.parametrize("fails", [False, True], ids=["loads", "fails"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_learning_is_put_back_and_named(site, what, fails):
    site.add("lab-x", HEAD + CHANGES[what] + ("\n1 / 0\n" if fails else "\n"))
    before = process()
    host = site.host()
    with pytest.warns(PluginWarning) as caught:
        host.load()
    assert process() == before
    assert any(f"plugin lab-x 1.0 changed {what}" in str(w.message) for w in caught)
    state = next(s for s in host.states if s.distribution == "lab-x")
    assert state.changes.put_back == (what,)
    assert state.state == ("failed" if fails else "loaded")


def test_lazy_targets_are_looked_at_as_well(site):
    site.add("lab-x", HEAD, lab_x_target="import torch\ntorch.set_grad_enabled(False)\nclass Encoder: pass\n")
    record = Component("text", "encoder", "lab_x_target:Encoder", spaces=[gym.spaces.Text])
    with pytest.warns(PluginWarning, match="lab-x 1.0 changed torch.set_grad_enabled"):
        Registered(record, Origin("lab-x", "1.0")).load()
    assert torch.is_grad_enabled()


def test_the_rest_is_named_and_left(site, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("LAB_X", raising=False)
    site.add("lab-x", HEAD + "import os, sys\nos.environ['LAB_X'] = '1'\nsys.path.append('/nowhere/lab-x')\n")
    host = site.host()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to warn about
        host.load()
    state = next(s for s in host.states if s.distribution == "lab-x")
    assert set(state.changes.left) == {"os.environ", "sys.path"}
    assert sys.path[-1] == "/nowhere/lab-x"
    monkeypatch.delenv("LAB_X")


def test_new_env_ids_stay_and_go_with_a_plugin_that_fails(site):
    register = "import gymnasium\ngymnasium.register('Lab/{0}-v0', 'nowhere:Env')\n"
    site.add("lab-good", HEAD + register.format("Good"))
    site.add("lab-bad", HEAD + register.format("Bad") + "1 / 0\n")
    with pytest.warns(PluginWarning, match="lab-bad"):
        site.host().load()
    assert "Lab/Good-v0" in gym.registry
    assert "Lab/Bad-v0" not in gym.registry
    del gym.registry["Lab/Good-v0"]


def test_of_two_plugins_that_register_one_env_id_the_first_by_name_has_it(site, monkeypatch):
    monkeypatch.setattr(guard, "_noticed", set())
    for name in ("lab-b", "lab-a"):
        site.add(name, HEAD + f"import gymnasium; gymnasium.register('lab/Two-v0', 'nowhere:{name[-1].upper()}')")
    try:
        with pytest.warns(PluginWarning, match=r"plugin lab-b 1\.0 changed gymnasium's lab/Two-v0"):
            site.host().load()
        assert gym.registry["lab/Two-v0"].entry_point == "nowhere:A"
    finally:
        gym.registry.pop("lab/Two-v0", None)


def test_overlapping_imports_share_one_look():
    """The first takes it and the last puts it back; each change is told once, of the import that ended first."""
    before = process()
    inner_done, outer_goes_on = threading.Event(), threading.Event()
    told = {}

    def inner():
        with quarantined(Origin("lab-inner", "1")) as quarantine:
            torch.set_default_dtype(torch.float64)
        told["inner"] = quarantine.changes.put_back
        inner_done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        with quarantined(Origin("lab-outer", "1")) as quarantine:
            thread = threading.Thread(target=inner)
            thread.start()
            assert inner_done.wait(10)
            outer_goes_on.set()
            assert torch.get_default_dtype() == torch.float64
        thread.join()
    assert told["inner"] == ("torch.set_default_dtype",)
    assert quarantine.changes.put_back == ()
    assert process() == before


def test_gradients_are_of_a_thread():
    seen = {}

    def work():
        with quarantined(LOCAL) as quarantine:
            torch.set_grad_enabled(False)
        seen.update(enabled=torch.is_grad_enabled(), told=quarantine.changes.put_back)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == {"enabled": True, "told": ("torch.set_grad_enabled",)}


def test_random_states_are_kept():
    before = process()
    with random_states_kept():
        random.random(), np.random.rand(), torch.rand(1)
        assert process() != before
    assert process() == before


# ------------------------------------------------------------------------------ texts


class Unspeakable(Exception):
    def __str__(self):
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x00\u202e", "[31mred"),
        (Unspeakable(), "<Unspeakable whose text cannot be shown: its __str__ raised SystemExit>"),
        ("x" * 3000, "x" * 2000 + "... (1,000 characters more)"),
    ],
)
def test_texts_are_safe(value, text):
    assert safe_text(value) == text


def test_a_plugin_with_an_unspeakable_error_is_failed_and_listed(site):
    site.add("lab-x", "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n")
    site.add("lab-y", "raise ValueError('a' * 1_000_000 + chr(27) + '[31m')\n")
    host = site.host()
    with pytest.warns(PluginWarning):
        host.load()
    reasons = {s.distribution: s.reason for s in host.states}
    assert reasons["lab-x"].startswith("E: <E whose text cannot be shown")
    assert len(reasons["lab-y"]) < 2_100
    assert all("\x1b" not in (s.traceback or "") for s in host.states)


def test_code_in_use_raises_with_its_name():
    with pytest.raises(KeyError) as caught, in_use("plugin acme 1.0, encoder 'acme/gcn', build()"):
        raise KeyError("width")
    notes = getattr(caught.value, "__notes__", caught.value.args)
    assert any("raised by plugin acme 1.0, encoder 'acme/gcn', build()" in str(note) for note in notes)


def test_code_in_use_ends_nothing():
    with pytest.raises(PluginError, match=r"acme 1.0 raised SystemExit: 0, which"), in_use("plugin acme 1.0"):
        sys.exit(0)
    with pytest.raises(KeyboardInterrupt), in_use("plugin acme 1.0"):
        raise KeyboardInterrupt
    assert describe(PluginError("as it is")) == "as it is"
