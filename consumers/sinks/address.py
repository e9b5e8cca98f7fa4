"""A sink by its address."""

import zlib
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from consumers.sinks.sink import Sink
from schemas.errors import ConfigurationError

WANTED: Final = "postgresql://…, sqlite:///FILE, jsonl:DIR or parquet:DIR"
MOST_NAME: Final = 53
"""Characters of a table's name: what is put after it must fit into PostgreSQL's 63."""


def open_sink(address: str, *, table: str, topic: str) -> Sink:
    """The sink of an address; it connects at its first use.

    Args:
        address: see ``WANTED``. ``sqlite:///a.db`` is relative to the working folder, ``sqlite:////a.db`` is not.
        table: where rows go in a database.
        topic: full name of the log.

    Raises:
        ConfigurationError: there is no such kind, a part is missing, or its driver is not installed.
    """
    kind, _, rest = address.partition(":")
    if kind in ("postgresql", "postgres", "sqlite"):
        _check_table(table, schema=kind != "sqlite")
    if kind in ("postgresql", "postgres") and rest.startswith("//"):
        from consumers.sinks.postgres import PostgresSink

        return PostgresSink(address, table, topic)
    if kind == "sqlite" and rest.startswith("///") and len(rest) > 3:
        from consumers.sinks.sqlite import SqliteSink

        return SqliteSink(Path(unquote(rest[3:])), table, topic)
    if kind in ("jsonl", "parquet") and rest:
        from consumers.sinks.files import FileSink

        return FileSink(Path(rest), "parquet" if kind == "parquet" else "jsonl", topic)
    raise ConfigurationError("--sink", redacted(address), WANTED)


def redacted(address: str) -> str:
    """The address without what is secret in it, for logs and errors."""
    try:
        parts = urlsplit(address)
        secret = parts.password
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return f"{address.partition(':')[0]}:…"
    netloc = parts.netloc
    if secret is not None:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:***@{host}"
    if any("password" in name for name, _ in query):
        query = [(name, "***" if "password" in name else value) for name, value in query]
        return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*/", quote_via=quote)))
    return address if netloc == parts.netloc else urlunsplit(parts._replace(netloc=netloc))


def fingerprint(address: str, table: str) -> str:
    """Eight characters that differ from sink to sink, whatever password leads to it."""
    return f"{zlib.crc32(f'{redacted(address)} {table}'.encode()):08x}"


def _check_table(table: str, *, schema: bool) -> None:
    parts = table.split(".", 1) if schema else [table]
    if not all(part and len(part.encode()) <= MOST_NAME and "\0" not in part for part in parts):
        raise ConfigurationError(
            "--table", table, f"a name of 1 to {MOST_NAME} bytes{', schema.name' if schema else ''}"
        )
