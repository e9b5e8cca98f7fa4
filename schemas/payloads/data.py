"""The type ``data``: filter, group and aggregate a table."""

from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, StrictBool, StrictInt, StrictStr, model_validator

from schemas.payloads.model import FileRef, Payload, Result

MAX_PREVIEW_ROWS: Final = 10


def _check_integer(value: object) -> object:
    # Not a bound on the integer's own branch: what that refuses, the branch for floats would take and round.
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("is beyond 64 bits; write it as text")
    return value


Format = Literal["csv", "jsonl", "parquet"]
ColumnType = Literal["text", "integer", "number", "decimal", "boolean", "date", "timestamp"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "is_null"]
Function = Literal["count", "sum", "min", "max", "mean", "median", "count_distinct"]

Column = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Scalar = Annotated[StrictBool | StrictInt | FiniteFloat | StrictStr, BeforeValidator(_check_integer)]
Row = dict[Column, Scalar | None]


class Source(Payload):
    """Where the rows come from: a file or the payload itself."""

    ref: FileRef | None = None
    """A CSV, JSON lines or Parquet file in the file store."""
    rows: Annotated[tuple[Row, ...], Field(min_length=1, max_length=10_000)] | None = None
    """The rows themselves."""
    format: Format | None = None
    """Of the file; default: told by its content."""
    header: bool = True
    """Whether the first line of a CSV file names the columns; else they are `column0`, `column1`, …"""
    types: Annotated[dict[Column, ColumnType], Field(default_factory=dict, max_length=500)]
    """Types of columns where the guess would be wrong: `{"zip": "text", "price": "decimal"}`. `decimal` is exact, with
    six places."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.ref is None) == (self.rows is None):
            raise ValueError("want either ref or rows")
        return self


class Filter(Payload):
    """A condition that a row must meet; several must all be met. A missing value meets only `is_null`."""

    column: Column
    op: Operator
    value: Scalar | Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=1_000)] | None = None
    """A list for `in`, text for `contains` (upper and lower case differ), true or false for `is_null` (default true).
    Dates and times are written as text: `2026-01-31`."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        wanted = {
            "in": (tuple, "a list of values"),
            "contains": (str, "text"),
            "is_null": (bool | None, "true, false or nothing"),
        }.get(self.op, (bool | int | float | str, "a single value"))
        if not isinstance(self.value, wanted[0]):
            raise ValueError(f"op {self.op!r} takes {wanted[1]}")
        return self


class Aggregate(Payload):
    """One value for each group."""

    function: Function
    column: Column | None = None
    """What is aggregated; only `count` does without, and then counts rows."""
    alias: Column | None = None
    """Name of the new column; default `<function>_<column>`, or `count`."""

    @property
    def name(self) -> str:
        """Name of the new column."""
        return self.alias or (f"{self.function}_{self.column}" if self.column else self.function)

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        if self.column is None and self.function != "count":
            raise ValueError(f"function {self.function!r} needs a column")
        return self


class Order(Payload):
    """One key to sort by."""

    column: Column
    descending: bool = False


class Output(Payload):
    """How the result is written."""

    format: Format = "csv"
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]+$")] | None = None
    """What the file is called; default `result.<format>`."""
    spreadsheet_safe: bool = True
    """CSV only: text that a spreadsheet would run as a formula gets a `'` in front. Switch it off where a program
    reads the file and must get the text as it was."""


class DataPayload(Payload):
    """A table, what is asked of it, and how the answer is written."""

    source: Source
    filters: Annotated[tuple[Filter, ...], Field(max_length=50)] = ()
    group_by: Annotated[tuple[Column, ...], Field(max_length=50)] = ()
    aggregates: Annotated[tuple[Aggregate, ...], Field(max_length=50)] = ()
    """With `group_by`, one row for each group; without, one row in all."""
    select: Annotated[tuple[Column, ...], Field(max_length=200)] = ()
    """Columns of the result, in this order; default: all."""
    order_by: Annotated[tuple[Order, ...], Field(max_length=20)] = ()
    """Default: by `group_by`, else as the rows came."""
    limit: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    output: Output = Output()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        # Column names are compared without case, as the engine does.
        produced = [*self.group_by, *(aggregate.name for aggregate in self.aggregates)]
        for where, names in (("group_by and aggregates", produced), ("select", self.select)):
            folded = [name.casefold() for name in names]
            twice = next((name for name in names if folded.count(name.casefold()) > 1), None)
            if twice is not None:
                raise ValueError(f"{where} name the column {twice!r} twice; give an alias")
        return self


class DataColumn(Result):
    """A column of the result."""

    name: str
    type: str
    """As DuckDB calls it: `BIGINT`, `DOUBLE`, `VARCHAR`, `DATE`, …"""


class DataResult(Result):
    """The answer."""

    ref: str
    """The file with all rows, for `GET /api/files/{ref}`."""
    rows: int
    columns: list[DataColumn]
    format: Format
    preview: list[dict[str, bool | int | float | str | None]]
    """The first rows. Decimals, dates and times are text, and so are integers from 2⁵³ on, which JSON readers round."""


def exact(value: Decimal | int | float | str | bool | None) -> bool | int | float | str | None:
    """``value`` as JSON carries it without loss: what a reader with doubles would round becomes text."""
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value) if isinstance(value, Decimal) else value
    return value if abs(value) < 2**53 else str(value)
