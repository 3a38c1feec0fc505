"""A new component keeps its contract and passes its own tests; the other kinds: ``tests/wheels/test_scaffold.py``."""

from __future__ import annotations

import importlib.util

from rlkit_core.plugins import discovery
from rlkit_core.plugins.host import PluginHost, use_host


def functions_of(file):
    """The functions of a test module, by name."""
    spec = importlib.util.spec_from_file_location(f"of_a_new_plugin_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name.startswith("test_")}


def test_it_passes_its_own_tests(installed, recwarn):
    folder = installed("acme-fourier", called="fourier")
    with use_host(PluginHost(discovery.scan(refresh=True))):
        passed = []
        for file in sorted((folder / "tests").glob("test_*.py")):
            for name, test in functions_of(file).items():
                test()
                passed.append(name)
    assert passed == ["test_ppo_trains_with_it", "test_it_keeps_its_contract"]
    assert [str(one.message) for one in recwarn if "acme" in str(one.message)] == []
