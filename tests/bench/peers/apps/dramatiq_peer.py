"""Dramatiq: a queue for each priority on RabbitMQ, results in Redis."""

import hashlib
import json

import dramatiq
import redis
from body import AMQP, REDIS_PORT, work
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

FRAMEWORK = "flask"
stored = redis.Redis(port=REDIS_PORT, db=1)
broker = RabbitmqBroker(url=f"{AMQP}/%2F")
broker.add_middleware(Results(backend=RedisBackend(client=stored), store_results=True, result_ttl=3_600_000))
dramatiq.set_broker(broker)


def actor(name, rank):
    @dramatiq.actor(actor_name=f"run_{name}", queue_name=f"peers_{name}", priority=rank, max_retries=5)
    def run(kind):
        return work(kind)

    return run


actors = {"high": actor("high", 0), "normal": actor("normal", 50), "low": actor("low", 100)}


def key(handle):
    """Where the result lies: what the backend's ``build_message_key`` makes of a message."""
    priority, _, message_id = handle.partition("/")
    found = actors[priority]
    text = f"dramatiq-results:{found.queue_name}:{found.actor_name}:{message_id}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def enqueue(kind, priority):
    return f"{priority}/{actors[priority].send(kind).message_id}"


def enqueue_many(items):
    return [enqueue(kind, priority) for kind, priority in items]


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.exists(key(handle))
        return [bool(found) for found in pipeline.execute()]


def done():
    return stored.dbsize()


def status(handle):
    # Dramatiq keeps no state until there is a result.
    found = stored.lindex(key(handle), 0)
    return ("queued", None) if found is None else ("done", json.loads(found))


def purge():
    for found in actors.values():
        for suffix in ("", ".DQ", ".XQ"):
            broker.channel.queue_delete(found.queue_name + suffix)
