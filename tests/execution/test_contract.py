"""The executor of the core keeps the contract; anybody's executor can be run through the same tests."""

from __future__ import annotations

import pytest

from rlkit_core.errors import PluginError
from rlkit_core.execution import LocalExecutor, by_name, make_executor
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.plugins.guard import Origin
from rlkit_core.plugins.records import Registered, Service


class TestLocal(ExecutorContract):
    def make_executor(self):
        return LocalExecutor()


def test_it_is_registered_as_any_plugins_is():
    with make_executor("local") as executor:
        assert isinstance(executor, LocalExecutor)
        assert executor.spawn(complex, 1, 2).call("conjugate").result() == 1 - 2j


def test_an_executor_has_to_say_what_it_can_do(monkeypatch):
    class Silent:
        in_process = False

    class Host:
        def find_service(self, kind, name):
            origin = Origin("silent", "1.0")
            return Registered(Service("executor", "silent", Silent), origin)

    monkeypatch.setattr(by_name, "default_host", Host)
    with pytest.raises(PluginError, match="no attribute concurrent, threads"):
        make_executor("silent")
