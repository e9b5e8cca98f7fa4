"""The type data computes what was asked, names what is wrong, and reaches nothing but its two files."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

import streams.handlers.data as handler
from schemas.errors import FileNotFoundInStoreError, Reject
from schemas.payloads.data import DataPayload
from schemas.settings import Settings
from tests.support.contexts import RecordedContext, context_for, stored

SALES = b"""region,product,quantity,price,day,zip
north,lamp,2,10.10,2026-01-05,00701
south,lamp,1,10.20,2026-02-05,00702
north,desk,3,20.30,2026-03-05,00701
,desk,4,0.1,2026-04-05,
"""


@pytest.fixture
def context(settings: Settings) -> RecordedContext:
    return context_for("data", settings)


def run(context: RecordedContext, content: bytes = SALES, /, name: str = "sales.csv", **asked: Any) -> dict[str, Any]:
    source = {"ref": stored(context, name, content)} | asked.pop("source", {})
    return handler.transform_data(DataPayload.model_validate({"source": source} | asked), context)


def written(context: RecordedContext, result: dict[str, Any]) -> str:
    return context.files.path(result["ref"]).read_bytes().decode()


@pytest.mark.parametrize(
    ("condition", "products"),
    [
        ({"column": "quantity", "op": ">", "value": 2}, ["desk", "desk"]),
        ({"column": "quantity", "op": "<=", "value": 1.5}, ["lamp"]),
        ({"column": "quantity", "op": "<=", "value": "1.5"}, ["lamp"]),
        ({"column": "QUANTITY", "op": "=", "value": 4}, ["desk"]),
        ({"column": "product", "op": "!=", "value": "desk"}, ["lamp", "lamp"]),
        ({"column": "product", "op": "contains", "value": "am"}, ["lamp", "lamp"]),
        ({"column": "product", "op": "contains", "value": "%"}, []),
        ({"column": "product", "op": "=", "value": "x' OR '1'='1"}, []),
        ({"column": "day", "op": ">=", "value": "2026-03-01"}, ["desk", "desk"]),
        ({"column": "day", "op": "in", "value": ["2026-01-05", "2026-02-05"]}, ["lamp", "lamp"]),
        ({"column": "region", "op": "is_null"}, ["desk"]),
        ({"column": "region", "op": "is_null", "value": False}, ["lamp", "lamp", "desk"]),
    ],
    ids=str,
)
def test_a_filter_keeps_the_rows_that_meet_it(
    condition: dict[str, Any], products: list[str], context: RecordedContext
) -> None:
    result = run(context, filters=[condition], select=["product"], output={"format": "jsonl"})
    assert [json.loads(line)["product"] for line in written(context, result).splitlines()] == products
    assert result["rows"] == len(products)


def test_groups_are_aggregated_and_sorted(context: RecordedContext) -> None:
    functions = ["count", "sum", "min", "max", "mean", "median", "count_distinct"]
    result = run(
        context,
        group_by=["region"],
        aggregates=[{"function": function, "column": "quantity"} for function in functions] + [{"function": "count"}],
        order_by=[{"column": "sum_quantity", "descending": True}],
        limit=1,
    )
    assert result["preview"] == [
        {"region": "north", "count_quantity": 2, "sum_quantity": 5, "min_quantity": 2, "max_quantity": 3}
        | {"mean_quantity": 2.5, "median_quantity": 2.5, "count_distinct_quantity": 2, "count": 2}
    ]
    assert context.reported


def test_groups_come_out_in_order_without_being_asked(context: RecordedContext) -> None:
    result = run(context, group_by=["region"])
    assert result["preview"] == [{"region": "north"}, {"region": "south"}, {"region": None}]


def test_sums_of_money_are_exact_as_decimal_and_do_not_drift_as_number(context: RecordedContext) -> None:
    tenths = b"price\n" + b"0.1\n" * 1000
    asked: dict[str, Any] = {"aggregates": [{"function": "sum", "column": "price", "alias": "total"}]}
    exact = run(context, tenths, source={"types": {"price": "decimal"}}, **asked)
    assert exact["columns"] == [{"name": "total", "type": "DECIMAL(38,6)"}]
    assert exact["preview"] == [{"total": "100.000000"}]
    assert run(context, tenths, **asked)["preview"] == [{"total": 100.0}]


def test_the_preview_rounds_nothing(context: RecordedContext) -> None:
    rows = b'{"n": 9007199254740991}\n{"n": 9007199254740992}\n{"n": -9223372036854775808}\n'
    assert run(context, rows)["preview"] == [
        {"n": 9007199254740991},
        {"n": "9007199254740992"},
        {"n": "-9223372036854775808"},
    ]
    total = run(context, rows, aggregates=[{"function": "sum", "column": "n", "alias": "total"}])
    assert total["preview"] == [{"total": str(9007199254740991 + 9007199254740992 - 2**63)}]
    assert run(context, b"x\nnan\ninf\n1.5\n", source={"types": {"x": "number"}})["preview"] == [
        {"x": None},
        {"x": None},
        {"x": 1.5},
    ]


def test_a_type_keeps_what_the_guess_would_lose(context: RecordedContext) -> None:
    result = run(context, source={"types": {"zip": "text"}}, select=["zip", "day"], limit=1)
    assert result["preview"] == [{"zip": "00701", "day": "2026-01-05"}]


def test_rows_may_stand_in_the_payload(context: RecordedContext) -> None:
    rows = [{"city": "Köln", "celsius": 3.5}, {"city": "Lagos", "celsius": None}]
    payload = DataPayload.model_validate({"source": {"rows": rows}, "output": {"format": "jsonl"}})
    result = handler.transform_data(payload, context)
    assert [json.loads(line) for line in written(context, result).splitlines()] == rows == result["preview"]


@pytest.mark.parametrize("format_name", ["csv", "jsonl", "parquet"])
def test_what_was_written_in_a_format_is_read_again(format_name: str, context: RecordedContext) -> None:
    first = run(context, output={"format": format_name})
    path = context.files.path(first["ref"])
    again = run(context, path.read_bytes(), name="no extension")
    assert again["preview"] == first["preview"]
    assert first["format"] == format_name
    assert context.files.stat(first["ref"]).name == f"result.{format_name}"


FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx", "\n=1", " =1+1", '"=1+1', "' =1", "\xa0=1", "＝1+1"]  # noqa: RUF001


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_a_spreadsheet_finds_no_formula_in_a_csv(text: str, context: RecordedContext) -> None:
    line = (json.dumps({"text": text, text: "harmless", "number": -5}) + "\n").encode()
    result = run(context, line)
    rows = list(csv.reader(io.StringIO(written(context, result), newline="")))
    assert rows == [["text", f"'{text}", "number"], [f"'{text}", "harmless", "-5"]]
    assert written(context, result).startswith('"text","')


def test_a_program_gets_the_text_as_it_was(context: RecordedContext) -> None:
    line = b'{"text": "=1+1"}\n'
    for output in ({"spreadsheet_safe": False}, {"format": "jsonl"}):
        assert "'=1+1" not in written(context, run(context, line, output=output))


@pytest.mark.parametrize(
    "name", ['a"b', "a'b", "a;b--", "select", "Größe", "a b", '"; DROP TABLE result; --', "a,b", "?", "*"]
)
def test_a_column_may_have_any_name(name: str, context: RecordedContext) -> None:
    line = (json.dumps({name: 7}) + "\n").encode()
    result = run(
        context,
        line,
        filters=[{"column": name, "op": "=", "value": 7}],
        group_by=[name],
        aggregates=[{"function": "sum", "column": name, "alias": name + "!"}],
        select=[name + "!", name],
        order_by=[{"column": name}],
    )
    assert result["preview"] == [{name + "!": 7, name: 7}]


@pytest.mark.parametrize(
    "asked",
    [
        {"select": ["colour"]},
        {"group_by": ["colour"]},
        {"filters": [{"column": "colour", "op": "=", "value": 1}]},
        {"aggregates": [{"function": "sum", "column": "colour"}]},
        {"order_by": [{"column": "colour"}]},
        {"source": {"types": {"colour": "text"}}},
    ],
    ids=str,
)
def test_an_unknown_column_is_rejected(asked: dict[str, Any], context: RecordedContext) -> None:
    with pytest.raises(Reject, match="colour"):
        run(context, **asked)


def test_the_rejection_names_the_known_columns(context: RecordedContext) -> None:
    with pytest.raises(Reject, match=r"no column 'colour'; columns: region, product, quantity, price, day, zip$"):
        run(context, select=["colour"])
    with pytest.raises(Reject, match=r"no column 'price'; columns: region, count$"):
        run(context, group_by=["region"], aggregates=[{"function": "count"}], order_by=[{"column": "price"}])


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ({"column": "quantity", "op": "=", "value": "many"}, "Could not convert"),
        ({"column": "quantity", "op": "=", "value": True}, "cannot be compared"),
        ({"column": "product", "op": "=", "value": 1}, "cannot be compared"),
        ({"column": "day", "op": "=", "value": 1}, "cannot be compared"),
        ({"column": "day", "op": "=", "value": "yesterday"}, "cannot be computed"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_its_column_is_rejected(
    condition: dict[str, Any], why: str, context: RecordedContext
) -> None:
    with pytest.raises(Reject, match=why):
        run(context, filters=[condition])


def test_a_sum_of_text_is_rejected(context: RecordedContext) -> None:
    with pytest.raises(Reject, match="want a number"):
        run(context, aggregates=[{"function": "sum", "column": "product"}])


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        (b"PAR1 and no more", None),
        (b"PAR1" + bytes(200) + b"PAR1", None),
        (b'{"a": 1}\n{"a": \n', None),
        (b"[1, 2]\n", "jsonl"),
        (bytes(range(256)) * 50, "csv"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"x,2\n", "csv"),
    ],
)
def test_a_broken_file_is_rejected_without_telling_our_paths(
    content: bytes, format_name: str | None, context: RecordedContext, settings: Settings
) -> None:
    with pytest.raises(Reject) as rejected:
        run(context, content, source={"format": format_name})
    assert str(settings.data_dir) not in str(rejected.value)
    assert "laneway-data-" not in str(rejected.value)


def test_a_file_that_is_not_there_is_told(context: RecordedContext) -> None:
    payload = DataPayload.model_validate({"source": {"ref": "01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41"}})
    with pytest.raises(FileNotFoundInStoreError):
        handler.transform_data(payload, context)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '{folder}/other'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
        "SET enable_external_access = true",
        "SET threads = 8",
    ],
)
def test_the_engine_reaches_nothing_else(statement: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(SALES)
    connection = handler._connect(tmp_path / "source", tmp_path / "target", tmp_path / "spill")
    with connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(folder=tmp_path))


@pytest.mark.parametrize(
    "refused",
    [
        {"source": {}},
        {"source": {"ref": "../../etc/passwd"}},
        {"source": {"ref": "01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41", "rows": [{"a": 1}]}},
        {"filters": [{"column": "a", "op": "like", "value": "x"}]},
        {"filters": [{"column": "a", "op": "in", "value": 1}]},
        {"filters": [{"column": "a", "op": "in", "value": []}]},
        {"filters": [{"column": "a", "op": "=", "value": None}]},
        {"filters": [{"column": "a", "op": "=", "value": [1]}]},
        {"filters": [{"column": "a", "op": "contains", "value": 1}]},
        {"filters": [{"column": "a", "op": "is_null", "value": 1}]},
        {"filters": [{"column": "a", "op": "=", "value": 2**63}]},
        {"aggregates": [{"function": "sum"}]},
        {"aggregates": [{"function": "exec", "column": "a"}]},
        {"group_by": ["a"], "aggregates": [{"function": "sum", "column": "b", "alias": "A"}]},
        {"select": ["a", "a"]},
        {"limit": 0},
        {"output": {"name": "../x"}},
        {"output": {"format": "xlsx"}},
        {"query": "SELECT 1"},
    ],
    ids=str,
)
def test_a_payload_that_makes_no_sense_is_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataPayload.model_validate({"source": {"rows": [{"a": 1}]}} | refused)
