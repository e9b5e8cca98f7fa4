from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laneway.cli.configuration import configured
from laneway.cli.modules import BUILT_IN, load_types
from laneway.cli.options import (
    PORT,
    PRIORITIES,
    NameList,
    data_dir_option,
    import_option,
    json_option,
)
from laneway.cli.output import console

if TYPE_CHECKING:
    from laneway.stack.report import Report
    from schemas.settings import Settings

JSON_LINES = "Machine-readable output: one JSON document on each line."
JSON_LOG = "Write the log as JSON, one record on each line."


@click.command()
@click.option("--port", type=PORT, help="Port of the API; 0 chooses a free one.  [default: 8080]")
@click.option(
    "--kafka-port", type=PORT, default=9092, show_default=True, help="Port of the broker; 0 chooses a free one."
)
@click.option("--brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Brokers to start.")
@click.option("--workers", type=click.IntRange(0, 64), default=1, show_default=True, help="Worker processes.")
@data_dir_option()
@import_option()
@click.option("--demo", is_flag=True, help="Submit sample tasks of every type and priority, and show how they fare.")
@json_option(JSON_LINES)
def up(
    port: int | None,
    kafka_port: int,
    brokers: str,
    workers: int,
    data_dir: Path | None,
    imports: tuple[str, ...],
    demo: bool,
    as_json: bool,
) -> int:
    """Start the whole system on this machine and keep it up until Ctrl-C.

    That includes a real Apache Kafka, unless LANEWAY_KAFKA__BOOTSTRAP_SERVERS names a cluster that exists.
    """
    import asyncio

    settings, _ = configuration = configured({"api.port": port, "data_dir": data_dir}, beside_stack=False)
    registry = load_types(imports)

    from laneway.stack.stack import Stack, StackPlan

    plan = StackPlan(
        settings=settings,
        chosen=configuration.chosen,
        registry=registry,
        imports=imports,
        workers=workers,
        brokers=3 if brokers == "3" else 1,
        kafka_port=kafka_port,
        demo=demo,
    )
    return asyncio.run(Stack(plan, _report(as_json)).run())


@click.command()
@click.option(
    "--port", type=PORT, default=9092, show_default=True, help="Port of the first broker; 0 chooses free ones."
)
@click.option("--brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Brokers to start.")
@data_dir_option()
@json_option(JSON_LINES)
def broker(port: int, brokers: str, data_dir: Path | None, as_json: bool) -> int:
    """Run Apache Kafka alone, for development, until Ctrl-C."""
    import asyncio

    settings = configured({"data_dir": data_dir}, beside_stack=False).settings

    from laneway.stack.broker import run_broker

    return asyncio.run(
        run_broker(settings.data_dir / "kafka", port=port, brokers=3 if brokers == "3" else 1, report=_report(as_json))
    )


@click.command()
@click.option("--port", type=PORT, help="Port to listen on.  [default: 8080]")
@data_dir_option()
@import_option()
@json_option(JSON_LOG)
def api(port: int | None, data_dir: Path | None, imports: tuple[str, ...], as_json: bool) -> int:
    """Run the ingest API alone."""
    overrides = {"api.port": port, "data_dir": data_dir, "log.format": "json" if as_json else None}
    settings = _process_settings(overrides)
    registry = load_types(imports)

    from ingest.server import serve

    return serve(settings, registry, imports)


TYPES = click.option("--types", type=NameList(), help="Only these types, such as email,chat (default: all).")
ONLY_PRIORITIES = click.option(
    "--priorities", type=NameList(PRIORITIES), help="Only these priorities, such as high,normal (default: all)."
)


@click.command()
@TYPES
@ONLY_PRIORITIES
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Tasks of each type that run at once in one process.  [default: 16]",
)
@click.option("--processes", type=click.IntRange(1, 64), help="Worker processes that are kept running.  [default: 1]")
@data_dir_option()
@import_option()
@json_option(JSON_LOG)
def worker(
    types: list[str] | None,
    priorities: list[str] | None,
    concurrency: int | None,
    processes: int | None,
    data_dir: Path | None,
    imports: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run workers alone: they execute the tasks of every type and priority, or of those named.

    A process that dies or stands still is started again. SIGTERM and Ctrl-C let what runs come to its end.
    """
    import asyncio

    overrides = {
        "worker.concurrency": concurrency,
        "worker.instances": processes,
        "data_dir": data_dir,
        "log.format": "json" if as_json else None,
    }
    settings = _process_settings(overrides)

    from laneway.stack.workers import Fleet

    arguments = [
        *(["--types", ",".join(types)] if types else []),
        *(["--priorities", ",".join(priorities)] if priorities else []),
        *(part for module in imports for part in ("--import", module)),
    ]
    return asyncio.run(Fleet(settings, arguments).run())


@click.command(hidden=True)
@TYPES
@ONLY_PRIORITIES
@import_option()
def worker_process(types: list[str] | None, priorities: list[str] | None, imports: tuple[str, ...]) -> int:
    """Be one worker process; `laneway worker` and `laneway up` start it, and tell it the rest in its environment."""
    import faulthandler
    import os

    # A worker for `high` alone has nothing that could wait.
    settings = _process_settings({"worker.nice": 0 if priorities == ["high"] else None})
    # By a step, so that who takes tasks in, tells of them and keeps them comes first where they share a machine.
    os.nice(min(1, settings.worker.nice))
    # So that a crash in native code, or the supervisor's SIGABRT, leaves every thread's stack in the log.
    faulthandler.enable()
    registry = load_types(imports)

    from schemas.errors import ConfigurationError
    from schemas.task import Priority
    from streams.worker import run

    unknown = [name for name in types or [] if name not in registry]
    if unknown:
        raise ConfigurationError("--types", ",".join(unknown), f"some of {', '.join(registry.names)}")
    chosen = [Priority(priority) for priority in priorities] if priorities else None
    return run(settings, registry, types=types, priorities=chosen, imports=[BUILT_IN, *imports])


@click.command(hidden=True)
@import_option()
def replay_process(imports: tuple[str, ...]) -> int:
    """Be the process that runs replays; the API starts it, and tells it the rest in its environment."""
    settings = _process_settings({})
    registry = load_types(imports)

    from ingest.replay.server import serve

    return serve(settings, registry)


def _process_settings(overrides: dict[str, Any]) -> "Settings":
    """The settings of a process that serves, with its log set up."""
    from laneway.crashpoints import arm
    from laneway.logs import configure

    settings = configured(overrides).settings
    configure(settings.log)
    arm(settings)
    return settings


def _report(as_json: bool) -> "Report":
    from laneway.stack.report import ConsoleReport, JsonReport

    return JsonReport() if as_json else ConsoleReport(console())
