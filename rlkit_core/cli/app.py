"""The click application: sub-commands are imported when they are typed, those of plugins included."""

from __future__ import annotations

import errno
import os
import traceback
from typing import Any

import click
from click.shell_completion import CompletionItem

from rlkit_core._version import __version__
from rlkit_core.errors import PluginError, RLKitError, did_you_mean
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import GROUP_COMMANDS, EntryPointInfo, canonical, scan
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.installed.variables import is_on
from rlkit_core.plugins.known_packages import KNOWN_PACKAGES
from rlkit_core.plugins.own_code import own_code_in

BUILT_IN: dict[str, tuple[str, str]] = {
    "algorithms": ("rlkit_core.cli.app:algorithms", "List the algorithms that are installed."),
    "check": ("rlkit_core.testing.kit.command:check", "Say what users of a plugin would trip over."),
    "check-env": ("rlkit_core.cli.check_env:check_env", "Say what a trainer will trip over in an environment."),
    "config": ("rlkit_core.cli.config.command:config", "Show or compare settings, and where they are from."),
    "doctor": ("rlkit_core.cli.doctor:doctor", "Load every plugin and report what fails, and what to do."),
    "envs": ("rlkit_core.cli.lists.envs:envs", "List environments that can be named."),
    "evaluate": ("rlkit_core.cli.evaluate:evaluate", "Evaluate a checkpoint."),
    "explain": ("rlkit_core.cli.explain:explain", "Show which components a run would use, and why."),
    "plugins": ("rlkit_core.cli.app:plugins", "List the plugins that are installed."),
    "presets": ("rlkit_core.cli.lists.presets:presets", "Show tuned settings, and what each was seen to reach."),
    "resume": ("rlkit_core.cli.resume:resume", "Go on with a run, from its newest checkpoint."),
    "settings": ("rlkit_core.cli.config.settings:settings", "List settings, with defaults and meanings."),
    "train": ("rlkit_core.cli.train:train", "Train an algorithm on an environment."),
    "verify": ("rlkit_core.cli.verify:verify", "Train the last stretch of a run again, and compare bit for bit."),
}
"""Name of each own command: where it lives, and its line in ``rlkit --help`` (which imports none of them)."""


class BrokenCommand(click.Command):
    """Stands for a command of a plugin that cannot be used: completion and ``--help`` work, running it raises."""

    def __init__(self, name: str, error: RLKitError) -> None:
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        super().__init__(name, help=f"This command cannot be used.\n\n\b\n{error}", context_settings=anything)
        self._error = error

    def invoke(self, ctx: click.Context) -> Any:
        """Raise the error."""
        raise self._error


class LazyGroup(click.Group):
    """A group whose commands are named by strings and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; metadata only."""
        return sorted({*BUILT_IN, *(e.name for e in _plugin_commands())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None when nothing has that name.

        One of a plugin that fails is a command whose help, and whose error when it is run, say what is wrong.
        """
        own = BUILT_IN.get(canonical(cmd_name))  # in any spelling: no plugin has "Train"
        if own is not None:
            from rlkit_core.plugins.records import load_target

            command: Any = load_target(own[0])
            return command  # type: ignore[no-any-return]
        if "/" not in cmd_name and not _is_of_a_plugin(cmd_name):
            return None
        from rlkit_core.cli.output import stdout_for_the_report
        from rlkit_core.plugins.host import default_host

        try:
            with stdout_for_the_report():
                command = default_host().get_command(cmd_name)
        except RLKitError as error:
            return BrokenCommand(cmd_name, error)
        if not isinstance(command, click.Command):
            text = f"command {cmd_name!r} of a plugin is {safe_text(repr(command), 200)}, expected a click command"
            return BrokenCommand(cmd_name, PluginError(text))
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options and names of commands; metadata only."""
        named = [CompletionItem(name, help=text) for name, text in self._rows() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument; a typo gets a suggestion."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            package = KNOWN_PACKAGES.get(("command", canonical(args[0])))
            hint = did_you_mean(args[0], self.list_commands(ctx), cutoff=0.5)
            if package is not None:
                hint = f" It comes with {package}: pip install {package}"
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(self._rows())

    @staticmethod
    def _rows() -> list[tuple[str, str]]:
        """Names and help of all commands, sorted; metadata only."""
        rows = {entry.name: f"From plugin {entry.distribution} {entry.version}." for entry in _plugin_commands()}
        return sorted((rows | {name: text for name, (_, text) in BUILT_IN.items()}).items())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that rlkit explains becomes one message and exit code 2, any other one and 1."""
        try:
            with own_code_in(os.curdir):
                return super().invoke(ctx)
        except RLKitError as exc:
            if is_on(os.environ, "RLKIT_DEBUG"):
                traceback.print_exc()
            click.echo("\n".join([f"Error: {exc}", *getattr(exc, "__notes__", ())]), err=True)
            if isinstance(exc, PluginError) and exc.__cause__ is not None:
                click.echo("'rlkit doctor' shows the traceback, and so does --debug.", err=True)
            ctx.exit(2)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as exc:
            of_the_reader = isinstance(exc, OSError) and exc.errno == errno.EPIPE  # head, less: has seen enough
            if of_the_reader or is_on(os.environ, "RLKIT_DEBUG"):
                raise
            *_, last = traceback.extract_tb(exc.__traceback__)
            where = f"raised in {last.filename}, line {last.lineno}; --debug shows the traceback"
            what = f"Error: {type(exc).__name__}: {exc}"
            click.echo("\n".join([what, *getattr(exc, "__notes__", ()), where]), err=True)
            ctx.exit(1)


def _plugin_commands(*, usable_only: bool = True) -> tuple[EntryPointInfo, ...]:
    entries = scan().entry_points(GROUP_COMMANDS, usable_only=usable_only)
    return tuple(entry for entry in entries if canonical(entry.name) not in BUILT_IN)


def _is_of_a_plugin(command: str) -> bool:
    folded = canonical(command)
    return any(canonical(e.name) == folded for e in _plugin_commands(usable_only=False))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"rlkit-core %(version)s (plugin API {'.'.join(map(str, API_VERSION))})")
@click.option("--debug", is_flag=True, help="Show tracebacks (also: RLKIT_DEBUG=1).")
@click.option("--plugin", metavar="FILE", multiple=True, help="Register a Python file as a plugin.")
def cli(debug: bool, plugin: tuple[str, ...]) -> None:
    """Reinforcement learning from plugins.

    \b
    Examples:
      rlkit train ppo CartPole-v1
      rlkit evaluate runs/ppo-CartPole-v1-20250131-093000
      rlkit COMMAND --help
    """


def _listing(what: str) -> click.Command:
    """The command that lists plugins or algorithms (metadata only)."""

    options = {"plugins": " --requirements runs/mine", "algorithms": " --json"}[what]
    example = f"\b\nExamples:\n  rlkit {what}\n  rlkit {what}{options}"

    @click.command(what, help=f"{BUILT_IN[what][1]}\n\n{example}")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def command(as_json: bool, run: str | None = None) -> None:
        if run is not None:
            from rlkit_core.cli.compare_runs import requirements

            click.echo("\n".join(requirements(run)))
            return
        from rlkit_core.cli.listing import show

        show(what, as_json=as_json)

    return command


plugins, algorithms = _listing("plugins"), _listing("algorithms")
click.option(
    "--requirements",
    "run",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Print lines for pip install -r: what is installed, or what a run folder or checkpoint used.",
)(plugins)
