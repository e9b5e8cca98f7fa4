"""``make chaos``: a system under load and a seeded storm of faults, judged by its ledgers."""

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.table import Table

from tests.chaos.load import LONGEST_WORK, Load
from tests.chaos.storm import Storm
from tests.support.chaos.cluster import running_cluster
from tests.support.chaos.judge import Verdict, Violation
from tests.support.chaos.trial import Trial, running_trial

DRAIN_WITHIN: Final = 150.0
STATES: Final = {
    "I1": "lost, or ended otherwise than once",
    "I2": "run though nobody asked, or two tasks of one idempotency key",
    "I3": "started again though finished, or though nobody died",
    "I4": "attempts beyond their bound or out of order",
    "I5": "left a final state",
    "I6": "commits over an unfinished record",
    "I7": "standstills",
    "I8": "out of order within an ordering key",
}


@dataclass(frozen=True)
class Plan:
    """What one run of ``make chaos`` does."""

    seed: int
    minutes: float
    brokers: int
    rate: float
    keys: int


@click.command()
@click.option("--seed", type=int, help="Repeats the decisions of an earlier run.  [default: a new one, printed]")
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=2.0, show_default=True, help="Length of the storm.")
@click.option("--brokers", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Embedded brokers.")
@click.option("--rate", type=click.FloatRange(1, 1000), default=40.0, show_default=True, help="Tasks a second.")
@click.option("--keys", type=click.IntRange(0, 64), default=6, show_default=True, help="Ordering keys; 0 for none.")
@click.option("--keep", is_flag=True, help="Leave logs and ledgers in place, whatever came of it.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
def main(
    seed: int | None,
    minutes: float,
    brokers: str,
    rate: float,
    keys: int,
    keep: bool,
    json_file: Path | None,
) -> None:
    """Kill, freeze and restart workers, API and brokers under load; exit 1 when an invariant did not hold."""
    plan = Plan(SystemRandom().randrange(2**31) if seed is None else seed, minutes, int(brokers), rate, keys)
    console = Console(highlight=False)
    console.print(f"seed {plan.seed}, {minutes:g} min, {brokers} broker(s), {rate:g} tasks/s, {keys} ordering keys")
    folder = Path(tempfile.mkdtemp(prefix="laneway-chaos-"))
    figures, verdict = asyncio.run(_run(plan, folder, console))
    _show(console, figures, verdict)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    if keep or verdict.violations:
        console.print(f"logs and ledgers: {folder}")
    else:
        import shutil

        shutil.rmtree(folder)
    sys.exit(1 if verdict.violations else 0)


async def _run(plan: Plan, folder: Path, console: Console) -> tuple[dict[str, Any], Verdict]:
    rng = Random(plan.seed)
    began = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:7.1f} s[/dim]  {what}")

    with ExitStack() as stack:
        say("starting the brokers")
        cluster = stack.enter_context(running_cluster(folder / "kafka", brokers=plan.brokers))
        trial: Trial = stack.enter_context(
            running_trial(
                cluster,
                folder / "trial",
                partitions=4,
                with_api=True,
                worker={"drain_timeout": 4 * LONGEST_WORK},
            )
        )
        settings = trial.settings
        api = await trial.api()
        api.settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": api.port})})
        storm = Storm(trial, api, Random(rng.random()), say=say)
        await storm.begin(2)
        load = Load(trial, api.address, Random(rng.random()), rate=plan.rate, keys=plan.keys)
        producing = asyncio.create_task(load.run())
        say("load and storm begin")
        await storm.rage(asyncio.get_running_loop().time() + plan.minutes * 60)
        say("healing")
        liveness = []
        try:
            await storm.calm()
        except AssertionError as error:
            liveness.append(Violation("I7", f"after everything was healed: {error}"))
        load.stop()
        await producing
        say(f"draining {len(trial.open_tasks())} of {len(trial.accepted.by_id)} tasks")
        try:
            drained: float | None = await trial.all_finished(within=DRAIN_WITHIN)
        except AssertionError as error:
            drained = None
            liveness.append(Violation("I7", f"not drained within {DRAIN_WITHIN:g} s: {error}"))
        for worker in storm.workers:
            if worker.running:
                await asyncio.to_thread(worker.stop)
        say("judging")
        verdict = await trial.verdict(judge_order=True)
        verdict.violations += liveness
        figures = {
            "seed": plan.seed,
            "minutes": plan.minutes,
            "brokers": plan.brokers,
            "seconds": round(time.monotonic() - began, 1),
            "drained_in_seconds": drained and round(drained, 2),
            "refused": len(load.refused_at),
            "unanswered": load.unanswered,
            **verdict.counts,
            "faults": trial.faults.counts,
            "violations": {name: len(verdict.of(name)) for name in STATES},
            "examples": [str(violation) for name in STATES for violation in verdict.of(name)[:20]],
        }
    return figures, verdict


def _show(console: Console, figures: dict[str, Any], verdict: Verdict) -> None:
    table = Table(title=f"chaos, seed {figures['seed']}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, value in figures.items():
        if name not in ("faults", "violations", "examples"):
            table.add_row(name.replace("_", " "), str(value))
    table.add_section()
    for name, count in figures["faults"].items():
        table.add_row(name.replace("_", " "), str(count))
    table.add_section()
    for name, words in STATES.items():
        table.add_row(f"{name}: {words}", str(figures["violations"][name]))
    console.print(table)
    for name in STATES:
        for violation in verdict.of(name)[:5]:
            console.print(str(violation), markup=False)


if __name__ == "__main__":
    main()
