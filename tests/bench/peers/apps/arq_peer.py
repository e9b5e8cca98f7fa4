"""arq: a queue for each priority and the results in Redis; a worker has one queue."""

import asyncio

import redis
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job
from body import PRIORITIES, REDIS_PORT, WAIT_SECONDS, option, work

FRAMEWORK = "fastapi"
AT_ONCE = 50
SETTINGS = RedisSettings(port=REDIS_PORT, database=0)
stored = redis.Redis(port=REDIS_PORT, db=0)
pool = None
loop = None


async def run(ctx, kind):
    if kind == "wait":
        await asyncio.sleep(WAIT_SECONDS)
        return {"ok": True}
    return work(kind)


class WorkerSettings:
    functions = (run,)
    redis_settings = SETTINGS
    max_jobs = 100
    poll_delay = 0.01
    queue_name = "arq:" + option("QUEUE", "normal")
    max_tries = 6
    log_results = False


async def startup():
    global pool
    pool = await create_pool(SETTINGS)


async def submit(kind, priority):
    job = await pool.enqueue_job("run", kind, _queue_name=f"arq:{priority}")
    return f"{priority}/{job.job_id}"


async def submit_many(items):
    handles = []
    for begin in range(0, len(items), AT_ONCE):
        handles += await asyncio.gather(*(submit(*item) for item in items[begin : begin + AT_ONCE]))
    return handles


def in_loop(awaitable):
    global loop
    if loop is None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(startup())
    return loop.run_until_complete(awaitable)


def enqueue(kind, priority):
    return in_loop(submit(kind, priority))


def enqueue_many(items):
    return in_loop(submit_many(items))


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.exists(f"arq:result:{handle.partition('/')[2]}")
        return [bool(found) for found in pipeline.execute()]


def done():
    # A job leaves the queue in the transaction that stores its result; results are counted by their own keys.
    return sum(1 for _ in stored.scan_iter("arq:result:*", count=5000))


async def status(handle):
    priority, _, job_id = handle.partition("/")
    job = Job(job_id, pool, _queue_name=f"arq:{priority}")
    found = await job.result_info()
    return (str(await job.status()), None) if found is None else ("done", found.result)


def left():
    return sum(stored.zcard(f"arq:{name}") for name in PRIORITIES)
