from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.modules import load_types
from laneway.cli.options import import_option, json_option
from laneway.cli.output import console, show_json

if TYPE_CHECKING:
    from laneway.kafka.admin import TopicAdmin, TopicChange
    from schemas.topics import TopicSpec


@click.group()
def topics() -> None:
    """Topics as code: what is needed, what is there, and making it so."""


@topics.command()
@import_option()
@json_option()
def plan(imports: tuple[str, ...], as_json: bool) -> None:
    """Show what `apply` would do; changes nothing."""
    admin, specs = wanted(imports)
    _show(admin.plan(specs), len(specs), "to do", as_json)


@topics.command()
@import_option()
@json_option()
def apply(imports: tuple[str, ...], as_json: bool) -> None:
    """Create what is missing and set what differs; safe to repeat."""
    admin, specs = wanted(imports)
    _show(admin.apply(specs), len(specs), "done", as_json)


@topics.command()
@import_option()
@json_option()
def verify(imports: tuple[str, ...], as_json: bool) -> None:
    """Fail unless every topic is there as it should be."""
    admin, specs = wanted(imports)
    admin.verify(specs)
    _show([], len(specs), "to do", as_json)


def wanted(imports: tuple[str, ...]) -> "tuple[TopicAdmin, list[TopicSpec]]":
    """The cluster that is set, and the topics that it should have for the built-in types and those of ``imports``."""
    from laneway.kafka.admin import TopicAdmin
    from schemas.topics import Topics

    settings = configured().settings
    specs = Topics(settings.kafka.topic_prefix).specs(
        load_types(imports).names,
        partitions=settings.kafka.partitions,
        replication_factor=settings.kafka.replication_factor,
    )
    return TopicAdmin(settings), specs


def _show(changes: "list[TopicChange]", total: int, word: str, as_json: bool) -> None:
    if as_json:
        show_json({"topics": total, "changes": [_described(change) for change in changes]})
        return
    from rich.markup import escape

    out = console()
    for change in changes:
        style = "red" if change.conflict else "green" if change.create else "yellow"
        out.print(f"[{style}]{escape(str(change))}[/]")
    out.print(f"{total} topics, {len(changes)} changes {word}" if changes else f"{total} topics, all as they should be")


def _described(change: "TopicChange") -> dict[str, Any]:
    if change.conflict:
        return {"topic": change.topic, "change": "conflict", "why": change.conflict}
    if change.create:
        spec = change.create
        return {
            "topic": change.topic,
            "change": "create",
            "partitions": spec.partitions,
            "replication_factor": spec.replication_factor,
            "config": spec.config,
        }
    return {
        "topic": change.topic,
        "change": "alter",
        "config": {name: {"from": old, "to": new} for name, (old, new) in change.alter.items()},
    }
