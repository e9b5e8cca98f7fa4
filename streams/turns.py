"""Whose turn it is among the tasks of one ordering key. The state lies in the partition, and ends with it."""

from collections import deque
from typing import Final

from streams.work import Work

MOST_WAITING: Final = 5_000
"""Tasks of a partition that may wait for others of their key; beyond it the partition is paused."""


def enter(work: Work) -> bool:
    """Take the key, or a place behind those who had it before; says whether it is the work's turn."""
    partition, key = work.source.partition, work.task.ordering_key or ""
    waiting = partition.keys.get(key)
    if waiting is None:
        partition.keys[key] = deque()
        return True
    waiting.append(work)
    partition.queued_by_key += 1
    return False


def leave(work: Work) -> Work | None:
    """Give the key to whoever is next, if anybody waits."""
    partition, key = work.source.partition, work.task.ordering_key or ""
    waiting = partition.keys.get(key)
    if waiting is None:
        return None
    if not waiting:
        del partition.keys[key]
        return None
    partition.queued_by_key -= 1
    return waiting.popleft()
