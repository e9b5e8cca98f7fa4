"""Huey: one priority queue and the results in Redis."""

import redis
from body import REDIS_PORT, work
from huey import PriorityRedisExpireHuey

FRAMEWORK = "flask"
LEVELS = {"high": 100, "normal": 50, "low": 1}
app = PriorityRedisExpireHuey("peers", host="127.0.0.1", port=REDIS_PORT, db=0, expire_time=3600)
stored = redis.Redis(port=REDIS_PORT, db=0)


@app.task(retries=5, retry_delay=1)
def run(kind):
    return work(kind)


def enqueue(kind, priority):
    return app.enqueue(run.s(kind, priority=LEVELS[priority])).id


def enqueue_many(items):
    return [enqueue(kind, priority) for kind, priority in items]


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.exists(app.storage.result_key(handle))
        return [bool(found) for found in pipeline.execute()]


def done():
    # Results are keys of their own beside the queue and the schedule.
    return stored.dbsize() - stored.exists(app.storage.queue_key) - stored.exists(app.storage.schedule_key)


def status(handle):
    found = app.result(handle, preserve=True)
    return ("queued", None) if found is None else ("done", found)
