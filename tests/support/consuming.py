"""A downstream service: writes the number of each outcome into a file, and fails at some.

python -m tests.support.consuming GROUP FILE
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

from laneway import RetryPolicy, consume
from schemas.outcome import Outcome
from tests.support.sinks import TYPE

TRIES: Final = 3
RETRY: Final = RetryPolicy(max_attempts=TRIES, first_delay=timedelta(milliseconds=20))


def fails(number: int) -> bool:
    """Whether the service never takes this one."""
    return number % 25 == 7


def fails_first(number: int) -> bool:
    """Whether it takes it at the second try."""
    return number % 25 == 11


def main(group: str, path: Path) -> None:
    """Consume until SIGTERM."""
    refused: set[str] = set()
    with path.open("a", buffering=1) as file:

        def write(outcome: Outcome) -> None:
            number = int(outcome.labels["number"])
            if fails(number) or (fails_first(number) and outcome.id not in refused):
                refused.add(outcome.id)
                raise OSError(f"no place for {number}")
            file.write(f"{number}\n")

        consume(TYPE, write, group=group, retry=RETRY, concurrency=2)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
