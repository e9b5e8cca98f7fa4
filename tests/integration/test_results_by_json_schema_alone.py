"""A plain Kafka consumer that knows only the JSON Schema reads `results.<type>`."""

import json
from pathlib import Path

import jsonschema

from schemas.settings import Settings
from tests.support.source_tree import ROOT
from tests.support.workers import outcome_records, outcomes, running_worker, submit


async def test_every_outcome_is_what_the_schema_says(settings: Settings, tmp_path: Path) -> None:
    schema = json.loads((ROOT / "schemas" / "json_schema" / "outcome.json").read_text())
    with running_worker(settings, tmp_path / "worker.log", "test.echo", "test.failing") as worker:
        await worker.ready()
        submit(settings, "test.echo", [{"n": 1}, ["a"], None])
        submit(settings, "test.failing", [{}])
        await outcomes(settings, "test.echo", 3)
        await outcomes(settings, "test.failing", 1)
    records = outcome_records(settings, "test.echo") + outcome_records(settings, "test.failing")
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for record in records:
        document = json.loads(record.value or b"")
        validator.validate(document)
        assert document["id"].encode() == record.key
