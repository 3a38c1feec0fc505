"""``rlkit new-plugin NAME --kind KIND``."""

from __future__ import annotations

from pathlib import Path

import click

from rlkit_scaffold.answers import KINDS, LICENSES, Answers

NEXT = """\
{kind} {called!r} of the new distribution {name!r}: {count} files in {folder}

  cd {folder}
  pip install -e '.[dev]'
  pytest
  rlkit check {name}

README.md says how it is used and published."""


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it adds: see below.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where; ./NAME unless given. New, or empty.")
@click.option("--as", "called", metavar="NAME", help="What users write in configs; NAME without 'rlkit-' unless given.")
@click.option("--description", default="", help="One line for package indexes and the README.")
@click.option("--author", default="", help="Whom the package names as its author.")
@click.option("--license", "licence", type=click.Choice(LICENSES), default=LICENSES[0], show_default=True)
def new_plugin(
    name: str, kind: str, folder: Path | None, called: str | None, description: str, author: str, licence: str
) -> None:
    """Begin a plugin: a package with code that works, its tests, README, CI and what pip needs.

    NAME is the name that pip will know, such as `acme-graph`. Nothing is asked: what is not said has a default.

    \b
    algorithm   an on-policy algorithm: settings, Learner, preset
    component   an encoder with settings of its own
    api         an API mixin, its driver and an implementation: something for every algorithm
    framework   a tensor framework beside torch: bases of modules and learners, sampler, networks

    Other components (heads, distributions) and services begin from `component`.

    \b
    Examples:
      rlkit new-plugin acme-graph --kind component
      rlkit new-plugin acme-reinforce --kind algorithm --as reinforce --dir plugins/reinforce --license MIT
    """
    answers = Answers(
        name=name, kind=kind, called=called or "", description=description, author=author, licence=licence
    )
    from rlkit_scaffold.write import write_plugin

    target = Path(answers.name) if folder is None else folder
    count = len(write_plugin(answers, target))
    click.echo(NEXT.format(kind=kind, called=answers.called, name=answers.name, count=count, folder=target))
