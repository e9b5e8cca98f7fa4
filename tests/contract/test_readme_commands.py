"""The README's commands are the ones that run: each is parsed by the command line or found in the Makefile."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from laneway.cli import cli
from tests.support.source_tree import ROOT


def readme_commands() -> Iterator[list[str]]:
    """Every command in the fenced ``sh`` blocks, without what is set before it and without its comment."""
    text = (ROOT / "README.md").read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
                del words[0]
            if words:
                yield [Path(words[0]).name, *words[1:]]


COMMANDS = list(readme_commands())
LANEWAY = [words[1:] for words in COMMANDS if words[0] == "laneway"]
MAKE = [words[1:] for words in COMMANDS if words[0] == "make"]


def parsed(arguments: list[str]) -> click.Context:
    """The context in which click would run the command; raises what click would say of wrong use."""
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"{command.name} has no command {name!r}"
        command = command.commands[name]
    return command.make_context(command.name, rest)


@pytest.mark.parametrize("arguments", LANEWAY, ids=" ".join)
def test_the_command_line_takes_it(arguments: list[str]) -> None:
    parsed(arguments).close()


@pytest.mark.parametrize("targets", MAKE, ids=" ".join)
def test_the_makefile_has_it(targets: list[str]) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {target for target in targets if "=" not in target} <= known


def test_the_readme_shows_the_two_commands_and_a_submission() -> None:
    assert {"run", "test"} <= {target for targets in MAKE for target in targets}
    assert "submit" in {arguments[0] for arguments in LANEWAY}


def test_wrong_use_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed(["submit", "email", "{}", "--no-such-option"])
