"""How long does it take to choose a component, with 100 records registered? Limit: 1 ms a slot.

python benchmarks/choosing.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from gymnasium import spaces
from side_by_side import describe_machine

from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.records import Component, ComponentRequest, Kind, Origin, Registered
from rlkit_core.plugins.registry import ComponentRegistry, choose

RECORDS, LIMIT_MS = 100, 1.0
KINDS: tuple[Kind, ...] = ("encoder", "head", "distribution")


def main() -> None:
    """Measure, print, write, and fail where the limit is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    own = PluginHost().registry.components()
    others = [
        Registered(
            Component(f"part{i}", KINDS[i % 3], "nowhere:Part", [spaces.Box], when=lambda request: False),
            Origin(f"lab-{i}", "1.0"),
        )
        for i in range(RECORDS - len(own) - 1)
    ]
    text = Component("text", "encoder", "nowhere:Part", [spaces.Text])
    others.append(Registered(text, Origin("lab-text", "1.0")))
    registry = ComponentRegistry([*own, *others])
    box, actions = spaces.Box(-1, 1, (4,)), spaces.Discrete(2)
    requests = {
        "gap": ComponentRequest("encoder", "encoder", space=spaces.Text(3), action_space=actions),  # looks at all
        "encoder": ComponentRequest("encoder", "encoder", space=box, action_space=actions),
        "head": ComponentRequest("head", "pi", space=actions, action_space=actions),
        "distribution": ComponentRequest("distribution", "pi", space=actions, action_space=actions),
    }
    report: dict[str, object] = {**describe_machine(), "records": RECORDS}
    slowest = 0.0
    for name, request in requests.items():
        times = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            choose(request, registry=registry)
            times.append((time.perf_counter() - start) * 1e3)
        report[f"{name}_ms"] = round(statistics.median(times), 4)
        slowest = max(slowest, statistics.median(times))
    print(json.dumps(report, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if slowest > LIMIT_MS:
        raise SystemExit(f"{slowest:.2f} ms a slot, at most {LIMIT_MS:g} wanted")


if __name__ == "__main__":
    main()
