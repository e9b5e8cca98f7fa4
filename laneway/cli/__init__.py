"""The command line: ``laneway``. What a command needs beyond its options is imported when it runs."""

import click

from laneway import __version__
from laneway.cli.batches import submit_batch
from laneway.cli.bench import bench
from laneway.cli.configuration import config
from laneway.cli.consumers import consumers
from laneway.cli.counts import counts
from laneway.cli.dead_letters import dlq
from laneway.cli.doctor import doctor
from laneway.cli.failures import exit_code_of
from laneway.cli.lanes import lanes, pause, resume
from laneway.cli.outcomes import results
from laneway.cli.replays import replay
from laneway.cli.schedules import schedule
from laneway.cli.system import api, broker, replay_process, up, worker, worker_process
from laneway.cli.tasks import cancel, list_tasks, reschedule, status, submit, types, why
from laneway.cli.timeline import timeline
from laneway.cli.top import top
from laneway.cli.topics import topics
from laneway.cli.workers import workers


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="laneway", message="%(prog)s %(version)s")
def cli() -> None:
    """Tasks and events on Apache Kafka: submit over HTTP, run in Faust workers, read results.

    Exit code: 0 done, 1 failed, 2 wrong use or configuration.
    """


_COMMANDS = (
    *(up, broker, api, worker, worker_process, replay_process),
    *(submit, submit_batch, status, timeline, why, list_tasks, cancel, reschedule, results, types),
    *(top, lanes, pause, resume, workers, counts),
    *(replay, dlq, schedule),
    *(topics, consumers, config, doctor, bench),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; answers the exit code."""
    return exit_code_of(cli, arguments)
