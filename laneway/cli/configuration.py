from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from laneway.cli.options import data_dir_option, json_option
from laneway.cli.output import console, show_json

if TYPE_CHECKING:
    from schemas.settings import Settings


class Setting(NamedTuple):
    """One setting as ``laneway config`` tells it."""

    name: str
    value: str
    """Secrets masked."""
    origin: str


class Configuration(NamedTuple):
    """Settings, and where each came from."""

    settings: "Settings"
    told: list[Setting]

    @property
    def chosen(self) -> frozenset[str]:
        """Names of the settings that somebody chose: those that are not defaults."""
        return frozenset(setting.name for setting in self.told if setting.origin != "default")


RUNNING_STACK = "running stack"


def configured(overrides: Mapping[str, Any] | None = None, *, beside_stack: bool = True) -> Configuration:
    """The settings: command line, environment, a stack that runs in this data directory, defaults: in this order.

    What ``laneway up`` decided for itself (the broker's port, the partitions) is thereby what ``laneway results`` or
    one more ``laneway worker`` use in another terminal, without anybody typing it again.

    Args:
        overrides: what the command line says, by dotted name; ``None`` is unsaid.
        beside_stack: whether a running stack is asked; ``up`` itself does not.

    Raises:
        ConfigurationError: a value that cannot be, or an unknown ``LANEWAY_`` variable.
    """
    from laneway.stack.presence import settings_of_running_stack
    from schemas.settings import load_settings, provenance

    overrides = dict(overrides or {})
    settings = load_settings(overrides)
    told = [Setting(*row) for row in provenance(settings, overrides)]
    if not beside_stack:
        return Configuration(settings, told)
    defaults = {setting.name for setting in told if setting.origin == "default"}
    decided = {name: value for name, value in settings_of_running_stack(settings.data_dir).items() if name in defaults}
    if not decided:
        return Configuration(settings, told)
    overrides |= decided
    settings = load_settings(overrides)
    told = [
        Setting(name, value, RUNNING_STACK if name in decided else origin)
        for name, value, origin in provenance(settings, overrides)
    ]
    return Configuration(settings, told)


@click.command()
@data_dir_option()
@json_option()
def config(data_dir: Any, as_json: bool) -> None:
    """Print the settings in force, secrets masked, and where each came from."""
    from schemas.settings import variable

    told = configured({"data_dir": data_dir}).told
    if as_json:
        show_json(
            {
                setting.name: {"value": setting.value, "origin": setting.origin, "variable": variable(setting.name)}
                for setting in told
            }
        )
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("setting", "value", "from", "variable", box=None, pad_edge=False, header_style="bold")
    for setting in told:
        style = "dim" if setting.origin == "default" else "bold"
        cells = (setting.name, setting.value, setting.origin, variable(setting.name))
        table.add_row(*(escape(cell) for cell in cells), style=style)
    console().print(table)
