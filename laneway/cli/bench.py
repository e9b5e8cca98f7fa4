from pathlib import Path

import click

from laneway.bench.plan import SECTIONS, BenchPlan
from laneway.cli.configuration import configured
from laneway.cli.options import NameList, json_option
from laneway.cli.output import console

COUNT = click.IntRange(1, 10_000_000)


@click.command()
@click.option("--only", type=NameList(SECTIONS), help=f"Only these sections: {', '.join(SECTIONS)}.")
@click.option("--runs", type=click.IntRange(1, 100), help="Runs of each section.  [default: 3]")
@click.option("--tasks", type=COUNT, help="Tasks of a throughput run.  [default: 20000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.  [default: 2]")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Slots of each worker.  [default: 100]")
@click.option("--queued", type=COUNT, help="Tasks that lie in the queue in `memory`.  [default: 200000]")
@click.option("--waiting", type=COUNT, help="Tasks that wait for tomorrow in `waiting`.  [default: 1000000]")
@click.option("--quick", is_flag=True, help="Every section in seconds: shows that it runs, says nothing of speed.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file as JSON, too."
)
@json_option()
def bench(
    only: list[str] | None,
    runs: int | None,
    tasks: int | None,
    workers: int | None,
    concurrency: int | None,
    queued: int | None,
    waiting: int | None,
    quick: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Measure throughput, latency, priority, status reads and memory on this machine.

    Starts a broker, the API and workers for itself, in a temporary folder and on free ports; with
    LANEWAY_KAFKA__BOOTSTRAP_SERVERS it uses that cluster, under a topic prefix of its own.
    """
    import signal

    import msgspec

    # As Ctrl-C does: what was started is stopped on the way out, and the folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    configuration = configured(beside_stack=False)

    from laneway.bench.report import show
    from laneway.bench.run import run_benchmark

    plan = BenchPlan(settings=configuration.settings)
    if "kafka.partitions" in configuration.chosen:
        plan = plan.changed(partitions=configuration.settings.kafka.partitions)
    if quick:
        plan = plan.quick()
    sizes = {"runs": runs, "tasks": tasks, "workers": workers, "concurrency": concurrency, "queued": queued}
    plan = plan.changed(only=only, waiting=waiting, **sizes)
    report = run_benchmark(plan, lambda text: click.echo(text, err=True))
    document = msgspec.json.encode(report)
    if output is not None:
        output.write_bytes(msgspec.json.format(document) + b"\n")
    if as_json:
        click.echo(document)
    else:
        show(report, console())
    return 0 if report.complete else 1
