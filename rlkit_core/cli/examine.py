"""What ``rlkit doctor`` finds out: every entry point and record of a plugin, imported and held against its contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import click
from attrs import define, field

from rlkit_core.plugins.discovery import (
    CORE,
    FOUND,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    DistributionInfo,
    EntryPointInfo,
)
from rlkit_core.plugins.guard import safe_text, safe_traceback
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.records import Record, Registered
from rlkit_core.plugins.states import FAILED, PluginState

OK, NOTE, EXAMINED = "ok", "note", "was examined"
Row = dict[str, Any]
Tell = Callable[[int, str, Row], object]


@define
class Check:
    """One thing of a distribution: it is imported first, and judged once everything is imported.

    Attributes:
        load: imports it; may write to the row.
        judge: says what is wrong with what was imported, in sentences.
        row: the report so far.
    """

    info: DistributionInfo
    what: str
    name: str
    value: str
    load: Callable[[Check], Any]
    judge: Callable[[Any], Iterable[str]]
    row: Row = field(factory=dict)
    loaded: Any = None

    def import_it(self) -> None:
        """Import it; what that raises is the report."""
        self.row = row_of(self.info, self.what, self.name, self.value, OK)
        start = time.perf_counter()
        self._guarded(self.load)
        self.row["seconds"] = self.row["seconds"] or round(time.perf_counter() - start, 4)

    def judge_it(self) -> None:
        """Hold what was imported against its contract."""
        if self.row["state"] == OK:
            self._guarded(lambda check: check.fail("\n".join(check.judge(check.loaded))))

    def fail(self, reason: str, *, remedy: str | None = None, traceback: str | None = None) -> None:
        """Report that it cannot be used, and why; no reason is no report."""
        if not reason:
            return
        if remedy is None:
            remedy = f"update or reinstall {self.info.name}"
            if self.info.name != CORE:
                remedy += f", or hide it with RLKIT_PLUGINS_DISABLE={self.info.name}"
        self.row |= {"state": FAILED, "reason": reason, "remedy": remedy, "traceback": traceback}

    def _guarded(self, step: Callable[[Check], Any]) -> None:
        try:
            self.loaded = step(self) or self.loaded
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self.fail(safe_text(exc) or type(exc).__name__, traceback=safe_traceback(exc.__cause__ or exc))


def examine(host: PluginHost, *, only: str | None = None, tell: Tell | None = None) -> list[Row]:
    """Import and judge everything: a row per entry point and per component, module API and service.

    Args:
        host: what is examined; nothing of it needs to be loaded before.
        only: the name of one distribution; all unless given.
        tell: is called with the number of a row, what is being done (``""``: it is done), and the row so far.
    """
    checks: list[Check] = []
    infos = [info for info in host.snapshot.distributions if only in (None, info.name)]
    say: Tell = tell or (lambda number, doing, row: None)

    def load(found: Iterable[Check]) -> None:
        for check in found:
            number = len(checks)
            checks.append(check)
            say(
                number,
                f"while {check.value!r} was imported",
                row_of(check.info, check.what, check.name, check.value, OK),
            )
            check.import_it()
            say(number, "", check.row)

    for info in infos:
        load(_entry_points(host, info))
    host.load()
    for info in infos:
        if info.state == FOUND:
            load(_records(host, info))
    for number, check in enumerate(checks):
        say(number, f"while {check.value!r} {EXAMINED}", check.row)
        check.judge_it()
        say(number, "", check.row)
    for info in infos:
        of_it = [check.row for check in checks if check.info is info]
        for row in of_it[:1]:
            row["notes"] = [*info.notes, *row["notes"]]
    order = {id(info): number for number, info in enumerate(infos)}
    rows = [(order[id(check.info)], check.row) for check in checks]
    rows += [(order[id(info)], row) for info in infos for row in unusable(info)]
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def unusable(info: DistributionInfo) -> Iterator[Row]:
    """Yield the rows of what is installed and not loaded: disabled, incompatible, shadowed; and of what is odd."""
    for note in info.notes:
        yield row_of(info, "distribution", info.name, "", NOTE, reason=note)
    if not info.entry_points:
        yield row_of(info, "distribution", info.name, "", info.state, reason=info.reason)
    for entry in info.entry_points:
        if entry.state != FOUND:
            yield row_of(info, entry.group, entry.name, entry.value, entry.state, reason=info.reason)


def row_of(info: DistributionInfo, what: str, name: str, value: str, state: str, **details: str | None) -> Row:
    """One row of the report; ``details`` are reason, remedy, traceback and seconds, where there are any."""
    row = {"distribution": info.name, "version": info.version, "what": what, "name": name, "value": value}
    return {
        **row,
        "state": state,
        **dict.fromkeys(("reason", "remedy", "traceback", "seconds")),
        "notes": [],
        **details,
    }


def _entry_points(host: PluginHost, info: DistributionInfo) -> Iterator[Check]:
    usable = [entry for entry in info.entry_points if entry.state == FOUND]
    for entry in sorted(usable, key=lambda entry: entry.group != GROUP_PLUGINS):
        of_hooks = entry.group == GROUP_PLUGINS
        load = partial(_load_plugin if of_hooks else _load_entry, host=host, entry=entry)
        judge = partial(_hook_problems if of_hooks else _problems, host=host, entry=entry)
        yield Check(info, entry.group, entry.name, entry.value, load, judge)


def _load_entry(check: Check, *, host: PluginHost, entry: EntryPointInfo) -> Any:
    return host.load_entry_point(entry)


def _load_plugin(check: Check, *, host: PluginHost, entry: EntryPointInfo) -> None:
    """Load a plugin; the host keeps what became of it, whatever its other entry points name."""
    try:
        host.load_entry_point(entry)
    except KeyboardInterrupt:
        raise
    except BaseException:
        pass  # the state says it
    state = _state(host, entry)
    if state.state == FAILED:
        check.fail(state.reason or "", remedy=state.remedy, traceback=state.traceback)
    check.row["seconds"] = round(state.seconds, 4)
    if entry.distribution == CORE:
        return
    check.row["notes"] = host.deprecations_of(entry.distribution, entry.name)
    check.row["notes"] += [f"its import changed {name}, which was put back" for name in state.changes.put_back]
    check.row["notes"] += [f"its import changed {name}, which was left" for name in state.changes.left]


def _state(host: PluginHost, entry: EntryPointInfo) -> PluginState:
    return next(s for s in host.states if (s.distribution, s.entry_point) == (entry.distribution, entry.name))


def _hook_problems(value: object, *, host: PluginHost, entry: EntryPointInfo) -> Iterator[str]:
    from rlkit_core.plugins.contract.hooks import hook_problems

    for hook, function in host.hooks_of(entry.distribution, entry.name).items():
        yield from hook_problems(hook, function)


def _problems(value: Any, *, host: PluginHost, entry: EntryPointInfo) -> Iterator[str]:
    """What is wrong with what an entry point of another group names."""
    if entry.group == GROUP_COMMANDS:
        from rlkit_core.cli.app import BUILT_IN

        if not isinstance(value, click.Command):
            yield f"{entry.value!r} is {value!r}, expected a click command"
        elif entry.name in BUILT_IN:
            yield f"rlkit has a command {entry.name!r} of its own, so this one is never run"
        return
    from rlkit_core import contracts  # which imports torch

    if entry.group == GROUP_ALGORITHMS:
        problems = list(contracts.algorithm_problems(value))
        yield from problems
        if not problems:
            from rlkit_core.algorithm.config.declared import default_module_problems

            yield from default_module_problems(value)
    elif entry.group == GROUP_CATALOGS:
        yield from contracts.catalog_problems(value)


def _records(host: PluginHost, info: DistributionInfo) -> Iterator[Check]:
    """What this distribution's plugins registered."""
    records: list[Registered[Record]] = [*host.registry.components(), *host.module_apis, *host.services()]
    for one in records:
        if one.origin.distribution == info.name:
            target = getattr(one.record, one.record.parts[0])
            value = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
            judge = partial(_record_problems, registered=one, host=host)
            yield Check(info, one.kind.replace("_", " "), one.name, value, partial(_load_record, registered=one), judge)


def _load_record(check: Check, *, registered: Registered[Record]) -> None:
    for part in registered.record.parts:
        registered.load(part)


def _record_problems(value: object, *, registered: Registered[Record], host: PluginHost) -> Iterator[str]:
    from rlkit_core import contracts  # which imports torch

    yield from contracts.record_problems(registered, host)
