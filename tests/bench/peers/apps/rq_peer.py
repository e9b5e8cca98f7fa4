"""RQ: a queue for each priority and the results in Redis."""

import redis
from body import PRIORITIES, REDIS_PORT, work
from rq import Queue, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job

FRAMEWORK = "fastapi"
AT_ONCE = 500
stored = redis.Redis(port=REDIS_PORT, db=0)
queues = {name: Queue(name, connection=stored) for name in PRIORITIES}
OPTIONS = {"result_ttl": 3600, "description": "run", "retry": Retry(max=5)}


def run(kind):
    return work(kind)


def enqueue(kind, priority):
    return queues[priority].enqueue(run, kind, **OPTIONS).id


def enqueue_many(items):
    handles = []
    for begin in range(0, len(items), AT_ONCE):
        some = items[begin : begin + AT_ONCE]
        for priority, queue in queues.items():
            data = [Queue.prepare_data(run, args=(kind,), **OPTIONS) for kind, wanted in some if wanted == priority]
            if data:
                handles += [job.id for job in queue.enqueue_many(data)]
    return handles


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.hget(f"rq:job:{handle}", "status")
        return [state in {b"finished", b"failed"} for state in pipeline.execute()]


def done():
    return sum(stored.zcard(f"rq:finished:{name}") for name in PRIORITIES)


def status(handle):
    try:
        job = Job.fetch(handle, connection=stored)
    except NoSuchJobError:
        return "unknown", None
    state = job.get_status(refresh=False)
    return str(getattr(state, "value", state)), job.return_value() if job.is_finished else None
