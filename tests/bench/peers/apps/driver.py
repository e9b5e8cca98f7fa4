"""Drives a peer by its own library, in its environment: ``driver.py OPERATION JSON`` answers one JSON line."""

import importlib
import json
import os
import sys
import threading
import time

import redis
from body import PRIORITIES, REDIS_PORT

peer = importlib.import_module(f"{os.environ['PEERS_NAME']}_peer")
POLL_SECONDS = 0.002
WARM_UP = 20


def counted_until(wanted, within):
    end = time.monotonic() + within
    while (done := peer.done()) < wanted and time.monotonic() < end:
        time.sleep(0.01)
    if done < wanted:
        raise SystemExit(f"{wanted - done} of {wanted} tasks have no result after {within} s")


def prepare():
    """Make what the workers need before they start."""
    if hasattr(peer, "prepare"):
        peer.prepare()
    return {}


def probe(priorities=PRIORITIES, within=60):
    """Wait until one task of each priority has come back."""
    end = time.monotonic() + within
    for priority in priorities:
        handle = peer.enqueue("noop", priority)
        while not peer.finished([handle])[0]:
            if time.monotonic() > end:
                raise SystemExit(f"no {priority} task came back within {within} s")
            time.sleep(0.01)
    return {}


def throughput(kind, count, within):
    """From the first submission until every result is stored."""
    peer.enqueue_many([("noop", "normal")] * 200)
    base = settled()
    began = time.monotonic()
    peer.enqueue_many([(kind, "normal")] * count)
    submitted = time.monotonic()
    counted_until(base + count, within)
    told = time.monotonic()
    return {"tasks_per_s": count / (told - began), "enqueued_per_s": count / (submitted - began)}


def settled():
    """How many results there are, once there are no more to come."""
    before = -1
    while (done := peer.done()) != before:
        before = done
        time.sleep(0.5)
    return done


class Watch:
    """Looks for results in a thread of its own, as a library's user would who polls as fast as is sensible."""

    def __init__(self):
        self.due_at = {}
        self.seconds = []
        self.lock = threading.Lock()
        self.no_more_after = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def expect(self, handle, due_at):
        with self.lock:
            self.due_at[handle] = due_at

    def run(self):
        while self.no_more_after is None or (self.due_at and time.monotonic() < self.no_more_after):
            with self.lock:
                handles = list(self.due_at)
            found = peer.finished(handles) if handles else []
            now = time.monotonic()
            with self.lock:
                for handle, is_in in zip(handles, found, strict=True):
                    if is_in:
                        self.seconds.append(now - self.due_at.pop(handle))
            time.sleep(POLL_SECONDS)

    def all_seconds(self, within):
        """Every latency; a task that was never seen done counts with what it has waited so far."""
        self.no_more_after = time.monotonic() + within
        self.thread.join(within + 5)
        return self.seconds + [time.monotonic() - due_at for due_at in self.due_at.values()], len(self.due_at)


def open_loop(kind, priority, rate, seconds, within):
    """Submit at a fixed rate, whether earlier ones are done or not."""
    for _ in range(WARM_UP):
        peer.enqueue(kind, priority)
        time.sleep(0.02)
    watch = Watch()
    began = time.monotonic()
    for number in range(max(1, int(rate * seconds))):
        due_at = began + number / rate
        time.sleep(max(0.0, due_at - time.monotonic()))
        watch.expect(peer.enqueue(kind, priority), due_at)
    elapsed = time.monotonic() - began
    found, missing = watch.all_seconds(within)
    found.sort()
    return elapsed, {
        "library_p50_ms": found[len(found) // 2] * 1000,
        "library_p99_ms": found[min(len(found) - 1, int(len(found) * 0.99))] * 1000,
        "missing": missing,
    }


def latency(rate, seconds, within):
    """Submit to result at a low rate."""
    return open_loop("noop", "normal", rate, seconds, within)[1]


def priority(flood, settle_seconds, alone_seconds, rate, seconds, within):
    """``high`` beside a flood of ``low`` tasks of 1 ms of CPU."""
    base = peer.done()
    peer.enqueue_many([("cpu", "low")] * flood)
    time.sleep(settle_seconds)
    before, began = peer.done(), time.monotonic()
    time.sleep(alone_seconds)
    middle = peer.done()
    alone = (middle - before) / (time.monotonic() - began)
    left = flood - (middle - base)
    started = time.monotonic()
    _, figures = open_loop("cpu", "high", rate, seconds, within)
    end, elapsed = peer.done(), time.monotonic() - started
    high = WARM_UP + max(1, int(rate * seconds)) - figures["missing"]
    low = end - middle - high
    beside = low / elapsed
    return {
        **figures,
        "low_waiting_at_first": left,
        "low_waiting_at_last": left - low,
        "low_alone_per_s": alone,
        "low_beside_high_per_s": beside,
        "low_kept_percent": 100 * beside / alone if alone else 0.0,
    }


def fill(count):
    """Queue tasks that nobody works on."""
    began = time.monotonic()
    for begin in range(0, count, 10_000):
        peer.enqueue_many([("noop", "low")] * min(10_000, count - begin))
    return {"queued_per_s": count / (time.monotonic() - began)}


def handles(count, within):
    """Handles of tasks that are done."""
    base = peer.done()
    found = peer.enqueue_many([("noop", "normal")] * count)
    counted_until(base + count, within)
    return {"handles": found}


def completed():
    """How many tasks are done between two lines of standard input; says when it is ready for the first."""
    print("READY", flush=True)
    counted = []
    for _ in range(2):
        sys.stdin.readline()
        counted.append((time.monotonic(), peer.done()))
    (began, before), (ended, after) = counted
    return {"completed_per_s": (after - before) / (ended - began)}


def reset():
    """Forget everything."""
    if hasattr(peer, "purge"):
        peer.purge()
    redis.Redis(port=REDIS_PORT).flushall()
    return {}


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    print("JSON" + json.dumps(answer), flush=True)
    if hasattr(peer, "close"):
        peer.close()
