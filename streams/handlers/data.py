import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from laneway.context import Context
from laneway.registry import task
from schemas.errors import Reject
from schemas.payloads.data import (
    MAX_PREVIEW_ROWS,
    Aggregate,
    ColumnType,
    DataColumn,
    DataPayload,
    DataResult,
    Filter,
    Format,
    Scalar,
    Source,
    exact,
)
from schemas.retry import RetryPolicy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT: Final = "512MB"
SPILL_LIMIT: Final = "4GB"
THREADS: Final = 2

_SQL_TYPES: Final[dict[ColumnType, str]] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "decimal": "DECIMAL(38,6)",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_CONTENT_TYPES: Final[dict[Format, str]] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_COPY_OPTIONS: Final[dict[Format, str]] = {
    "csv": "FORMAT csv, HEADER, FORCE_QUOTE *",
    "jsonl": "FORMAT json",
    "parquet": "FORMAT parquet",
}
_INTEGER: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
_NUMERIC: Final = re.compile(rf"{_INTEGER.pattern}|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_TEMPORAL: Final = re.compile(r"DATE|TIME(STAMP)?(_S|_MS|_NS)?( WITH TIME ZONE)?")
# A spreadsheet runs a cell that starts with one of these as a formula; some look past blanks and quotes, some take the
# full-width forms. One expression for Python (column names) and for DuckDB (cells).
_FORMULA: Final = r"""^[\s\x{A0}"']*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r\n]"""
_FORMULA_IN_PYTHON: Final = re.compile(re.sub(r"\\x\{([0-9A-F]+)\}", lambda code: chr(int(code[1], 16)), _FORMULA))

Columns = dict[str, str]
"""Type of each column by its name, in their order."""


# In a process: it parses files from outside with native code, so a crash or an attempt past its time-out must be able
# to end alone. (DuckDB releases the interpreter's lock; that alone would have made a thread enough.)
@task(
    "data",
    retry=RetryPolicy(max_attempts=3, first_delay=timedelta(seconds=2)),
    timeout=timedelta(minutes=10),
    executor="process",
)
def transform_data(payload: DataPayload, ctx: Context) -> dict[str, Any]:
    """Filter, group and aggregate a CSV, JSON lines or Parquet file, and write the answer as a file.

    Raises:
        Reject: a column that is not there (names those that are), a file that cannot be read as its format, a value
            that does not fit its column, or more memory than one task gets.
        FileNotFoundInStoreError: no such file.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="laneway-data-") as folder:
        target = Path(folder, "target")
        source, shown = _source_file(payload.source, ctx, Path(folder))
        with closing(_connect(source, target, Path(folder, "spill"))) as connection:
            try:
                _load(connection, payload, source)
                ctx.progress(60, "computed")
                columns = _describe(connection, "SELECT * FROM result")
                rows = _one(connection, "SELECT count(*) FROM result")
                preview = _preview(connection, columns)
                _write(connection, payload, columns, target)
            except duckdb.OutOfMemoryException as error:
                raise Reject(f"needs more than {MEMORY_LIMIT} of memory or {SPILL_LIMIT} of disk") from error
            except (duckdb.IOException, duckdb.InternalException):
                raise  # the disk's trouble or the engine's, not the payload's
            except duckdb.Error as error:
                # Only what was wrong: the lines below it tell the statement and its hints, the paths are ours.
                said = str(error).partition("\n")[0].replace(str(source), shown).replace(folder, "")
                raise Reject(f"cannot be computed: {said}") from error
        name = payload.output.name or f"result.{payload.output.format}"
        with ctx.files.create(name, _CONTENT_TYPES[payload.output.format]) as new, target.open("rb") as written:
            shutil.copyfileobj(written, new)
    ctx.logger.info("data written", rows=rows, columns=len(columns), bytes=new.size)
    return DataResult(
        ref=new.ref,
        rows=rows,
        columns=[DataColumn(name=column, type=type_) for column, type_ in columns.items()],
        format=payload.output.format,
        preview=preview,
    ).model_dump(mode="json")


def _source_file(source: Source, ctx: Context, folder: Path) -> tuple[Path, str]:
    """The file to read, and what messages call it."""
    if source.ref is not None:
        return ctx.files.path(source.ref).resolve(), repr(ctx.files.stat(source.ref).name)
    inline = folder / "rows"
    with inline.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in source.rows or ())
    return inline, "rows"


def _connect(source: Path, target: Path, spill: Path) -> "DuckDBPyConnection":
    """An engine of its own for the task that reads one file, writes one, and reaches nothing else."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "allow_community_extensions": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "max_temp_directory_size": SPILL_LIMIT,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(spill),
            "threads": str(THREADS),
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET allowed_paths = ?", [[str(source), str(target)]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _load(connection: "DuckDBPyConnection", payload: DataPayload, source: Path) -> None:
    """Compute the answer into the table ``result``."""
    reader, arguments = _reader(payload.source, source)
    known = _describe(connection, f"SELECT * FROM {reader}", arguments)  # noqa: S608  (fixed text)
    casts = {find(known, column): _SQL_TYPES[type_] for column, type_ in payload.source.types.items()}
    if casts:
        replaced = ", ".join(f"CAST({quote(name)} AS {type_}) AS {quote(name)}" for name, type_ in casts.items())
        reader = f"(SELECT * REPLACE ({replaced}) FROM {reader})"  # noqa: S608  (quoted names, our own types)
        known |= casts
    query, values = compile_query(payload, known, reader)
    with naming_known_columns(known):
        connection.execute(f"CREATE TEMP TABLE result AS {query}", [*arguments, *values])


def _reader(source: Source, path: Path) -> tuple[str, list[Any]]:
    """The table function that reads ``path``, and its arguments."""
    match "jsonl" if source.rows is not None else source.format or _sniff(path):
        case "parquet":
            return "read_parquet(?)", [str(path)]
        case "jsonl":
            return "read_json(?, format='newline_delimited', records=true, compression='uncompressed')", [str(path)]
        case _:
            # The reader must see the types: once it took 007 for a number, no cast brings the zeros back.
            types = {column: _SQL_TYPES[type_] for column, type_ in source.types.items()}
            csv = "read_csv(?, header=?, compression='none'"
            return (
                (f"{csv}, types=?)", [str(path), source.header, types])
                if types
                else (
                    f"{csv})",
                    [str(path), source.header],
                )
            )


def _sniff(path: Path) -> Format:
    with path.open("rb") as stream:
        start = stream.read(4096)
    if start.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "csv"


def _describe(connection: "DuckDBPyConnection", query: str, values: list[Any] | None = None) -> Columns:
    return {str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE {query}", values or []).fetchall()}


def _one(connection: "DuckDBPyConnection", query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def naming_known_columns(known: Columns) -> Iterator[None]:
    """A reader's complaint about a column becomes ours, with the known ones."""
    import duckdb

    try:
        yield
    except duckdb.BinderException as error:
        raise Reject(f"cannot be computed: {str(error).partition(chr(10))[0]}; columns: {_names(known)}") from error


def compile_query(payload: DataPayload, known: Columns, reader: str) -> tuple[str, list[Any]]:
    """The payload as one SQL query over ``reader``: names quoted, values as parameters.

    Raises:
        Reject: a column that is not there, or an operation that its type does not have.
    """
    conditions: list[str] = []
    values: list[Any] = []
    for each in payload.filters:
        condition, operands = _condition(each, known)
        conditions.append(condition)
        values += operands
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    groups = [quote(find(known, column)) for column in payload.group_by]
    produced = list(known)
    inner = "*"
    if groups or payload.aggregates:
        aggregates = [f"{_aggregate(each, known)} AS {quote(each.name)}" for each in payload.aggregates]
        produced = [find(known, column) for column in payload.group_by] + [each.name for each in payload.aggregates]
        inner = ", ".join([*groups, *aggregates])
    grouping = f" GROUP BY {', '.join(groups)}" if groups else ""
    available = dict.fromkeys(produced, "")
    selected = ", ".join(quote(find(available, column)) for column in payload.select) or "*"
    order = [
        f"{quote(find(available, each.column))} {'DESC' if each.descending else 'ASC'} NULLS LAST"
        for each in payload.order_by
    ] or groups  # groups come out in any order; a task that runs twice must give the same file
    ordering = f" ORDER BY {', '.join(order)}" if order else ""
    limit = f" LIMIT {payload.limit}" if payload.limit is not None else ""
    query = f"SELECT {selected} FROM (SELECT {inner} FROM {reader}{where}{grouping}){ordering}{limit}"  # noqa: S608
    return query, values


def quote(name: str) -> str:
    """``name`` as an SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def find(known: Columns, name: str) -> str:
    """The column as the table spells it; upper and lower case are one, as for DuckDB.

    Raises:
        Reject: there is none; names the known ones.
    """
    if name in known:
        return name
    for column in known:
        if column.casefold() == name.casefold():
            return column
    raise Reject(f"no column {name!r}; columns: {_names(known)}")


def _names(known: Columns) -> str:
    shown = ", ".join(list(known)[:50])
    return f"{shown} and {len(known) - 50} more" if len(known) > 50 else shown


def _condition(each: Filter, known: Columns) -> tuple[str, list[Any]]:
    column = find(known, each.column)
    name, type_ = quote(column), known[column]
    match each.op, each.value:
        case "is_null", value:
            return f"{name} IS {'NOT ' if value is False else ''}NULL", []
        case "contains", value:
            return f"contains(CAST({name} AS VARCHAR), ?)", [value]
        case "in", tuple(members):
            return f"{name} IN ({', '.join(_operand(column, type_, member) for member in members)})", list(members)
        case op, value:
            return f"{name} {op} {_operand(column, type_, value)}", [value]


def _operand(column: str, type_: str, value: Scalar | tuple[Scalar, ...] | None) -> str:
    """The parameter that ``value`` is bound to, in a form that DuckDB compares with the column's type."""
    if isinstance(value, str):
        if type_ == "VARCHAR" or type_.startswith("ENUM("):
            return "?"
        if type_ in {"BOOLEAN", "UUID"} or _NUMERIC.fullmatch(type_) or _TEMPORAL.fullmatch(type_):
            # Whole numbers would round 1.5 to 2 before they compare.
            return f"CAST(? AS {'DECIMAL(38,6)' if _INTEGER.fullmatch(type_) else type_})"
    elif (type_ == "BOOLEAN") if isinstance(value, bool) else _NUMERIC.fullmatch(type_):
        return "?"
    raise Reject(f"filter on {column!r}: a column of type {type_} cannot be compared with {value!r}")


def _aggregate(each: Aggregate, known: Columns) -> str:
    if each.column is None:
        return "count(*)"
    column = find(known, each.column)
    name, type_ = quote(column), known[column]
    if each.function in {"sum", "mean", "median"} and not _NUMERIC.fullmatch(type_):
        raise Reject(f"{each.function} of {column!r}: its type is {type_}; want a number")
    match each.function:
        case "count_distinct":
            return f"count(DISTINCT {name})"
        case "mean":
            return f"avg({name})"
        case "sum" if type_ in {"FLOAT", "DOUBLE"}:
            return f"fsum({name})"  # does not pile up rounding errors
        case function:
            return f"{function}({name})"


def _preview(connection: "DuckDBPyConnection", columns: Columns) -> list[dict[str, bool | int | float | str | None]]:
    plain = {name for name, type_ in columns.items() if type_ == "BOOLEAN" or _NUMERIC.fullmatch(type_)}
    shown = ", ".join(quote(name) if name in plain else f"CAST({quote(name)} AS VARCHAR)" for name in columns)
    found = connection.execute(f"SELECT {shown} FROM result LIMIT {MAX_PREVIEW_ROWS}").fetchall()  # noqa: S608
    return [dict(zip(columns, map(_json_safe, row), strict=True)) for row in found]


def _json_safe(value: Any) -> bool | int | float | str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and len(value) > 500:
        return value[:499] + "…"
    return exact(value)


def _write(connection: "DuckDBPyConnection", payload: DataPayload, columns: Columns, target: Path) -> None:
    guarded = payload.output.format == "csv" and payload.output.spreadsheet_safe
    shown = ", ".join(_guard(name, type_) for name, type_ in columns.items()) if guarded else "*"
    path = str(target).replace("'", "''")
    options = _COPY_OPTIONS[payload.output.format]
    connection.execute(f"COPY (SELECT {shown} FROM result) TO '{path}' ({options})")  # noqa: S608  (quoted)


def _guard(name: str, type_: str) -> str:
    """A column of the CSV file, with a ``'`` before whatever a spreadsheet would run."""
    header = f"'{name}" if _FORMULA_IN_PYTHON.search(name) else name
    if type_ == "BOOLEAN" or _NUMERIC.fullmatch(type_) or _TEMPORAL.fullmatch(type_):
        return f"{quote(name)} AS {quote(header)}"
    text = f"CAST({quote(name)} AS VARCHAR)"
    pattern = _FORMULA.replace("'", "''")
    return f"CASE WHEN regexp_matches({text}, '{pattern}') THEN '''' || {text} ELSE {text} END AS {quote(header)}"
