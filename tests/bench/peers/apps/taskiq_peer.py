"""taskiq-aio-kafka: a topic for each priority, results in Redis."""

import asyncio

import redis
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.partitioner import DefaultPartitioner
from body import KAFKA, PRIORITIES, REDIS_PORT, REDIS_RESULTS, WAIT_SECONDS, option, work
from kafka.admin import NewTopic
from taskiq_aio_kafka import AioKafkaBroker
from taskiq_redis import RedisAsyncResultBackend
from taskiq_redis.exceptions import ResultIsMissingError

FRAMEWORK = "fastapi"
AT_ONCE = 200
# Fresh topics for each run: what the last one left would be worked on in this one.
run_name = option("RUN", "0")
topics = {
    name: NewTopic(name=f"peers-{name}-{run_name}", num_partitions=2, replication_factor=1) for name in PRIORITIES
}
results = RedisAsyncResultBackend(REDIS_RESULTS, result_ex_time=3600)
broker = AioKafkaBroker(
    bootstrap_servers=KAFKA, kafka_topic=topics["normal"], kafka_topics=list(topics.values()), result_backend=results
)
# It takes both from kafka-python, whose third version has none that can be called; aiokafka's own do the work.
broker.configure_consumer(
    group_id=f"peers-taskiq-{run_name}",
    auto_offset_reset="earliest",
    partition_assignment_strategy=(RoundRobinPartitionAssignor,),
)
broker.configure_producer(partitioner=DefaultPartitioner())
stored = redis.Redis(port=REDIS_PORT, db=1)
loop = None


@broker.task(task_name="run")
async def run(kind: str):
    if kind == "wait":
        await asyncio.sleep(WAIT_SECONDS)
        return {"ok": True}
    return work(kind)


async def kick(kind, priority):
    return (await run.kicker().with_labels(**{broker.task_topic_label: topics[priority].name}).kiq(kind)).task_id


async def kick_many(items):
    handles = []
    for begin in range(0, len(items), AT_ONCE):
        handles += await asyncio.gather(*(kick(*item) for item in items[begin : begin + AT_ONCE]))
    return handles


def in_loop(awaitable):
    global loop
    if loop is None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(broker.startup())
    return loop.run_until_complete(awaitable)


def enqueue(kind, priority):
    return in_loop(kick(kind, priority))


def enqueue_many(items):
    return in_loop(kick_many(items))


def finished(handles):
    with stored.pipeline(transaction=False) as pipeline:
        for handle in handles:
            pipeline.exists(handle)
        return [bool(found) for found in pipeline.execute()]


def done():
    return stored.dbsize()


async def status(handle):
    # taskiq keeps no state until there is a result.
    try:
        found = await results.get_result(handle)
    except ResultIsMissingError:
        return "queued", None
    return ("failed", None) if found.is_err else ("done", found.return_value)


submit, submit_many = kick, kick_many
startup, shutdown = broker.startup, broker.shutdown


def prepare():
    # Made before the workers start: a consumer that subscribes to a topic that is not there finds it much later.
    admin = broker._kafka_admin_client
    known = set(admin.list_topics())
    missing = [topic for topic in topics.values() if topic.name not in known]
    if missing:
        admin.create_topics(missing)


def purge():
    admin = broker._kafka_admin_client
    known = set(admin.list_topics())
    ours = [topic.name for topic in topics.values() if topic.name in known]
    if ours:
        admin.delete_topics(ours)


def close():
    if loop is not None:
        loop.run_until_complete(broker.shutdown())
