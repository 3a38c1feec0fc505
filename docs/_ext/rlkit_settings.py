"""A directive that prints the settings of a class, section by section, from its own declarations.

::

    ```{rlkit-settings} rlkit_core.algorithm:AlgorithmConfig
    ```

With ``:beyond: package.module:Class`` only what differs from that second class is printed.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from rlkit_core.plugins.records import load_target
from rlkit_core.settings import SectionedSettings, Setting


def cell(text: str, *, literal: bool = False) -> nodes.entry:
    """A table cell that holds one paragraph."""
    inner = nodes.literal(text, text) if literal else nodes.Text(text)
    return nodes.entry("", nodes.paragraph("", "", inner))


def row(*cells: nodes.entry) -> nodes.row:
    """A table row."""
    return nodes.row("", *cells)


def table(settings: list[Setting]) -> nodes.table:
    """Name, default and meaning of each setting."""
    group = nodes.tgroup("", cols=3)
    group += [nodes.colspec(colwidth=width) for width in (30, 20, 50)]
    head = row(cell("setting"), cell("default"), cell("meaning"))
    named = {s.name: f"{s.short} ({s.name})" if s.short else s.name for s in settings}
    body = [
        row(cell(named[s.name], literal=True), cell(repr(s.make_default()), literal=True), cell(s.help))
        for s in settings
    ]
    group += [nodes.thead("", head), nodes.tbody("", *body)]
    return nodes.table("", group)


class SettingsDirective(SphinxDirective):
    """``{rlkit-settings} package.module:ConfigClass``."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"beyond": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """One sub-section and one table for each section that has settings; one table where there are no sections."""
        documented = load_target(self.arguments[0])
        settings = list(documented.known_settings().values())
        if "beyond" in self.options:
            settings = documented.beyond(load_target(self.options["beyond"]))
        if not issubclass(documented, SectionedSettings):
            return [table(settings)]
        page: list[nodes.Node] = []
        for section, method in documented.sections().items():
            chosen = [setting for setting in settings if setting.section == section]
            if chosen:
                name = f"{section}()"
                heading = nodes.paragraph("", "", nodes.strong("", "", nodes.literal(name, name)))
                heading += nodes.Text(f": {method.meaning}")
                page += [heading, table(chosen)]
        return page


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("rlkit-settings", SettingsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
