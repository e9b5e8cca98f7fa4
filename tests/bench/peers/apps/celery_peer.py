"""Celery: a queue for each priority on RabbitMQ, results in Redis."""

import amqp
import redis
from body import AMQP, REDIS_PORT, REDIS_RESULTS, option, work
from celery import Celery
from kombu import Exchange, Queue

FRAMEWORK = "flask"
ONE_QUEUE = option("PRIORITY_QUEUE", "") == "1"
LATE = option("ACKS_LATE", "") == "1"
LEVELS = {"high": 9, "normal": 5, "low": 1}

app = Celery("peers", broker=f"{AMQP}//", backend=REDIS_RESULTS)
exchange = Exchange("peers", type="direct")
if ONE_QUEUE:
    queues = [Queue("peers.all", exchange, routing_key="all", queue_arguments={"x-max-priority": 10})]
else:
    # Lazy queues keep the backlog on disk: the variant that measures memory has them.
    arguments = {"x-queue-mode": "lazy"} if option("LAZY", "") == "1" else None
    queues = [Queue(f"peers.{name}", exchange, routing_key=name, queue_arguments=arguments) for name in LEVELS]
app.conf.update(
    task_queues=queues,
    task_default_queue=queues[0].name,
    task_default_exchange="peers",
    task_default_routing_key=queues[0].routing_key,
    task_acks_late=LATE,
    task_reject_on_worker_lost=LATE,
    worker_prefetch_multiplier=int(option("PREFETCH", "4")),
    result_expires=3600,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    # Otherwise every thread, and under gevent every task, makes a backend and a connection of its own.
    result_backend_thread_safe=True,
)
# A producer that never calls get() has no use for the subscription that the Redis backend makes for each task.
app.backend.on_task_call = lambda producer, task_id: None
stored = redis.Redis(port=REDIS_PORT, db=1)


@app.task(name="peers.run", max_retries=5)
def run(kind):
    return work(kind)


def options(priority):
    if ONE_QUEUE:
        return {"exchange": exchange, "routing_key": "all", "priority": LEVELS[priority]}
    return {"queue": f"peers.{priority}"}


def enqueue(kind, priority):
    return run.apply_async((kind,), **options(priority)).id


def enqueue_many(items):
    with app.producer_pool.acquire(block=True) as producer:
        return [run.apply_async((kind,), producer=producer, **options(priority)).id for kind, priority in items]


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.exists(f"celery-task-meta-{handle}")
        return [bool(found) for found in pipeline.execute()]


def done():
    return stored.dbsize()


def status(handle):
    told = app.backend.get_task_meta(handle)
    return told["status"].lower(), told["result"] if told["status"] == "SUCCESS" else None


def purge():
    host = AMQP.rpartition("@")[2]
    with amqp.Connection(host=host, userid="guest", password="guest") as connection:
        for queue in ("peers.all", *(f"peers.{name}" for name in LEVELS)):
            connection.channel().queue_delete(queue)
