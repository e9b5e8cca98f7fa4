"""The peers: how each is started, tuned, in the variant that fared best in each section."""

from dataclasses import dataclass, field
from typing import Final

HOST: Final = "127.0.0.1"
PORT: Final = "{port}"
"""Stands in a command for the port of the web application."""

_GUNICORN: Final = (
    *("gunicorn", "-w", "2", "-k", "gthread", "--threads", "16", "--keep-alive", "60"),
    *("--log-level", "warning", "-b", f"{HOST}:{PORT}", "web:app"),
)
_UVICORN: Final = (
    *("uvicorn", "web:app", "--host", HOST, "--port", PORT, "--workers", "2"),
    *("--no-access-log", "--log-level", "warning"),
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Workers set up in one way."""

    commands: tuple[tuple[str, ...], ...]
    options: dict[str, str] = field(default_factory=dict)
    """Set in the environment as ``PEERS_<name>``, or as they are where they begin with a small letter."""
    each: tuple[dict[str, str], ...] = ()
    """Options of each command's own."""
    priorities: tuple[str, ...] = ("high", "normal", "low")
    """What its workers serve."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One peer."""

    name: str
    variants: dict[str, Variant]
    sections: dict[str, tuple[str, ...]]
    """Section to variants; the first is called by the peer's name alone."""
    web: tuple[str, ...]
    needs_rabbitmq: bool = False
    needs_kafka: bool = False
    packages: tuple[str, ...] = ()
    """Whose versions are told."""


def _celery(queues: str = "high,normal,low", *, pool: str = "prefork", slots: int = 2, name: str = "w") -> list[str]:
    listed = ",".join(f"peers.{queue}" for queue in queues.split(","))
    command = [
        "celery",
        "-A",
        "celery_peer",
        "worker",
        "-P",
        pool,
        "-c",
        str(slots),
        "-Q",
        listed,
        "-n",
        f"{name}@peers",
    ]
    return [*command, "-l", "WARNING", "--without-gossip", "--without-mingle"]


def _dramatiq(threads: int) -> tuple[tuple[str, ...], ...]:
    return (("dramatiq", "dramatiq_peer", "-p", "2", "-t", str(threads)),)


def _taskiq(*options: str) -> tuple[tuple[str, ...], ...]:
    return (("taskiq", "worker", "taskiq_peer:broker", "-w", "2", "--log-level", "WARNING", *options),)


def _huey(kind: str, slots: int) -> tuple[tuple[str, ...], ...]:
    return (("huey_consumer", "huey_peer.app", "-k", kind, "-w", str(slots), "-d", "0.01", "-m", "0.05", "-q"),)


def _rq(slots: int) -> tuple[tuple[str, ...], ...]:
    url = "redis://127.0.0.1:{redis_port}/0"
    command = ("rq", "worker-pool", "-n", str(slots), "-w", "rq.worker.SimpleWorker", "-u", url, "-q")
    return ((*command, "high", "normal", "low"),)


_ARQ: Final = ("arq", "arq_peer.WorkerSettings")

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            name="celery",
            packages=("celery", "kombu", "gevent", "redis"),
            needs_rabbitmq=True,
            web=_GUNICORN,
            variants={
                "early": Variant(commands=(tuple(_celery()),), options={"PREFETCH": "64"}),
                "default": Variant(commands=(tuple(_celery()),), options={"PREFETCH": "4"}),
                "acks_late": Variant(
                    commands=((*_celery(), "-O", "fair"),), options={"PREFETCH": "1", "ACKS_LATE": "1"}
                ),
                # With its heartbeat the event loop of a green pool waits up to 0.1 s after every message.
                "gevent": Variant(
                    commands=tuple(
                        (*_celery(pool="gevent", slots=100, name=name), "--without-heartbeat") for name in ("a", "b")
                    )
                ),
                "priority_queue": Variant(
                    commands=((*_celery("all"), "-O", "fair"),),
                    options={"PRIORITY_QUEUE": "1", "PREFETCH": "1", "ACKS_LATE": "1"},
                ),
                "own_workers": Variant(
                    commands=(
                        tuple(_celery("high,normal", slots=1, name="high")),
                        tuple(_celery("low", name="low")),
                    )
                ),
                "lazy": Variant(commands=(tuple(_celery()),), options={"LAZY": "1"}),
            },
            sections={
                "noop": ("early", "acks_late"),
                "cpu": ("early",),
                "wait": ("gevent",),
                "accept": ("early",),
                "batch": ("early",),
                "latency": ("default",),
                "priority": ("priority_queue", "own_workers"),
                "status": ("early",),
                "memory": ("default", "lazy"),
            },
        ),
        Peer(
            name="dramatiq",
            packages=("dramatiq", "pika", "redis"),
            needs_rabbitmq=True,
            web=_GUNICORN,
            variants={
                "2_threads": Variant(commands=_dramatiq(2), options={"dramatiq_queue_prefetch": "64"}),
                "8_threads": Variant(commands=_dramatiq(8)),
                "32_threads": Variant(commands=_dramatiq(32)),
                "prefetch_1": Variant(commands=_dramatiq(1), options={"dramatiq_queue_prefetch": "1"}),
            },
            sections={
                "noop": ("2_threads",),
                "cpu": ("2_threads",),
                "wait": ("32_threads",),
                "accept": ("2_threads",),
                "batch": ("2_threads",),
                "latency": ("8_threads",),
                "priority": ("prefetch_1",),
                "status": ("2_threads",),
                "memory": ("8_threads",),
            },
        ),
        Peer(
            name="taskiq",
            packages=("taskiq", "taskiq-aio-kafka", "taskiq-redis", "aiokafka"),
            needs_kafka=True,
            web=_UVICORN,
            variants={
                "no_parse": Variant(commands=_taskiq("--no-parse", "--max-prefetch", "200")),
                "default": Variant(commands=_taskiq()),
            },
            sections={
                **dict.fromkeys(("noop", "cpu", "wait", "accept", "batch", "status"), ("no_parse",)),
                **dict.fromkeys(("latency", "priority", "memory"), ("default",)),
            },
        ),
        Peer(
            name="huey",
            packages=("huey", "redis"),
            web=_GUNICORN,
            variants={
                "2_processes": Variant(commands=_huey("process", 2)),
                "32_threads": Variant(commands=_huey("thread", 32)),
            },
            sections={
                **dict.fromkeys(("noop", "cpu", "accept", "latency", "priority", "status", "memory"), ("2_processes",)),
                "wait": ("32_threads",),
            },
        ),
        Peer(
            name="rq",
            packages=("rq", "redis"),
            web=_UVICORN,
            variants={"simple": Variant(commands=_rq(2)), "simple_16": Variant(commands=_rq(16))},
            sections={
                **dict.fromkeys(
                    ("noop", "cpu", "accept", "batch", "latency", "priority", "status", "memory"), ("simple",)
                ),
                "wait": ("simple_16",),
            },
        ),
        Peer(
            name="arq",
            packages=("arq", "redis"),
            web=_UVICORN,
            variants={
                "one_queue": Variant(commands=(_ARQ, _ARQ), priorities=("normal",)),
                "own_workers": Variant(
                    commands=(_ARQ, _ARQ), each=({"QUEUE": "high"}, {"QUEUE": "low"}), priorities=("high", "low")
                ),
            },
            sections={
                **dict.fromkeys(("noop", "cpu", "wait", "accept", "batch", "latency", "status"), ("one_queue",)),
                "priority": ("own_workers",),
            },
        ),
    )
}
