"""``make bench-peers``: Laneway and its peers in one run, turn by turn."""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from laneway.bench.measuring import Bench, Figures
from laneway.bench.plan import BenchPlan
from laneway.bench.report import number, premises, unit_of
from laneway.bench.run import KINDS, Section, premises_of, summarised
from laneway.bench.system import Cluster
from schemas.errors import BenchmarkError
from schemas.settings import load_settings
from tests.bench.peers.definitions import PEERS, Peer
from tests.bench.peers.services import FOLDER, Services, environment_of, install_programs
from tests.bench.peers.subject import PeerSubject

LANEWAY: Final = "laneway"
OURS: Final = {"priority": ("priority", "dedicated")}
"""Further variants of ours, as the peers have theirs."""
COMPARED: Final = ("noop", "cpu", "wait", "accept", "batch", "latency", "priority", "status", "memory")


class Comparison(msgspec.Struct, frozen=True):
    """What the run gave, and under which premises."""

    began_at: datetime
    premises: dict[str, Any]
    sections: dict[str, dict[str, Section]]
    """Section to subject: ``laneway``, ``celery``, or ``celery acks_late`` for a further variant."""


def subjects_of(section: str, peers: list[Peer]) -> dict[str, tuple[Peer, str]]:
    """Peers and variants that a section measures, by the name under which they are told."""
    found: dict[str, tuple[Peer, str]] = {}
    for peer in peers:
        for index, variant in enumerate(peer.sections.get(section, ())):
            found[f"{peer.name} {variant}" if index else peer.name] = peer, variant
    return found


def compare(plan: BenchPlan, peers: list[Peer], folder: Path) -> Comparison:
    """Measure every section, run by run: Laneway, then each peer, then Laneway again."""
    began_at = datetime.now(UTC)
    sections: dict[str, dict[str, Section]] = {}
    cluster = Cluster(plan.settings, folder / "cluster")
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        (folder / "cluster").mkdir()
        cluster.start()
        services = stack.enter_context(Services(folder, rabbitmq=any(peer.needs_rabbitmq for peer in peers)))
        kafka = cluster.settings.bootstrap_servers
        for section in plan.only:
            turns: dict[str, Callable[[], Figures]] = {
                f"{LANEWAY} {ours}" if ours != section else LANEWAY: partial(_ours, plan, cluster, ours)
                for ours in OURS.get(section, (section,))
            }
            for name, (peer, variant) in subjects_of(section, peers).items():

                def theirs(peer: Peer = peer, variant: str = variant, section: str = section) -> Figures:
                    return PeerSubject(peer, variant, plan, services, kafka, folder).measure(section)

                turns[name] = theirs
            sections[section] = _measured(plan, section, turns)
        told = premises_of(plan, embedded=cluster.embedded)
    told["peers"] = {peer.name: _versions(peer) for peer in peers}
    return Comparison(began_at, told, sections)


def _ours(plan: BenchPlan, cluster: Cluster, section: str) -> Figures:
    with closing(Bench(replace(plan, runs=1), cluster, _say)) as bench:
        return list(KINDS[section].measure(bench))[-1]


def _measured(plan: BenchPlan, section: str, turns: dict[str, Callable[[], Figures]]) -> dict[str, Section]:
    kind = KINDS[section]
    runs: dict[str, list[Figures]] = {name: [] for name in turns}
    errors: dict[str, str] = {}
    for number_of_run in range(1, plan.runs + 1):
        for name, turn in turns.items():
            try:
                figures = turn()
            except (BenchmarkError, OSError) as error:
                errors[name] = str(error)
                _say(f"{section} run {number_of_run} {name}: {error}")
                continue
            runs[name].append(figures)
            main = ", ".join(f"{key} {figures[key]}" for key in kind.main if key in figures)
            _say(f"{section} run {number_of_run} {name}: {main}")
    return {name: summarised(kind.title, kind.main, runs[name], errors.get(name)) for name in turns}


def _versions(peer: Peer) -> str:
    script = "import sys; from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in sys.argv[1:]))"
    python = str(environment_of(peer.name) / "python")
    return subprocess.run([python, "-c", script, *peer.packages], capture_output=True, text=True).stdout.strip()


def show(comparison: Comparison, out: Console) -> None:
    """Write a table for each section: the median of every subject, with least and largest."""
    for name, value in premises(comparison.premises):
        out.print(f"[dim]{name:<18}[/] {value}")
    for section, subjects in comparison.sections.items():
        kind = KINDS[section]
        table = Table(title=f"{section}: {kind.title}", title_justify="left", box=None, header_style="bold")
        table.add_column("figure (median, least to largest)")
        for name in subjects:
            table.add_column(name, justify="right")
        figures = dict.fromkeys(
            figure for each in subjects.values() for figure in each.figures if figure.partition(".")[0] in kind.main
        )
        for figure in figures:
            cells = [_cell(each, figure) for each in subjects.values()]
            table.add_row(f"{figure} [dim]{unit_of(figure.partition('.')[0])}[/]", *cells)
        out.print()
        out.print(table)
        for name, each in subjects.items():
            if each.error:
                out.print(f"[red]{name}[/]: {each.error}", markup=True)


def _cell(section: Section, figure: str) -> str:
    spread = section.figures.get(figure)
    if spread is None:
        return "-"
    return f"{number(spread.median)} [dim]{number(spread.min)} to {number(spread.max)}[/]"


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stderr.flush()


def _names(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"saw {', '.join(unknown)}, want some of {', '.join(allowed)}")
        return names

    return parse


def main() -> int:
    """Install what is missing, measure, and write the table and ``.bench/peers.json``."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=main.__doc__)
    parser.add_argument("--peers", type=_names(tuple(PEERS)), default=["celery", "dramatiq", "taskiq", "huey"])
    parser.add_argument("--only", type=_names(COMPARED), default=list(COMPARED))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, says nothing of speed")
    parser.add_argument("--output", type=Path, default=FOLDER / "peers.json")
    said = parser.parse_args()
    # As Ctrl-C does: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = BenchPlan(settings=load_settings())
    if said.quick:
        plan = plan.quick()
    plan = replace(
        plan, only=said.only, runs=said.runs, tasks=min(said.tasks, plan.tasks) if said.quick else said.tasks
    )
    peers = [PEERS[name] for name in said.peers]
    FOLDER.mkdir(exist_ok=True)
    install_programs()
    for peer in peers:
        _say(f"the environment of {peer.name}")
        environment_of(peer.name)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER))
    try:
        comparison = compare(plan, peers, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    said.output.write_bytes(msgspec.json.format(msgspec.json.encode(comparison)) + b"\n")
    show(comparison, Console(width=None if sys.stdout.isatty() else 200))
    if any(each.error for subjects in comparison.sections.values() for each in subjects.values()):
        _say(f"logs are kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
