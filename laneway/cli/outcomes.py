import click

from laneway.cli.options import json_option


@click.command()
@click.argument("type_name", metavar="TYPE")
@json_option()
def results(type_name: str, as_json: bool) -> None:
    """PLACEHOLDER"""
