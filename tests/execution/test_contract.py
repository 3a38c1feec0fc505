"""The executors of the core keep the contract; anybody's executor can be run through the same tests."""

from __future__ import annotations

import pytest

from rlkit_core.execution import LocalExecutor, ProcessExecutor
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.plugins.host import default_host


class TestLocal(ExecutorContract):
    def make_executor(self):
        return LocalExecutor()


class TestProcess(ExecutorContract):
    def make_executor(self):
        return ProcessExecutor()


@pytest.mark.parametrize("name", ["local", "process"])
def test_they_are_registered_as_any_plugins_are(name):
    with default_host().get_service("executor", name)() as executor:
        assert executor.spawn(complex, 1, 2).call("conjugate").result() == 1 - 2j
