"""Outcomes given to a handler: one that fails is tried again and then set aside, while the rest goes on."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from consumers.aside import Aside
from consumers.handing import Handing
from consumers.reader import Offsets, Start, check_start
from schemas.errors import ConfigurationError
from schemas.outcome import Outcome
from schemas.retry import RetryPolicy
from schemas.settings import Settings, load_settings

_RETRY: Final = RetryPolicy()
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def consume(
    type_name: str,
    handler: Callable[[Outcome], object],
    *,
    group: str,
    retry: RetryPolicy = _RETRY,
    concurrency: int = 1,
    settings: Settings | None = None,
    start: Start | Offsets | None = None,
    follow: bool = True,
) -> None:
    """Every outcome of a task type is handled, or lies set aside with why.

        def book(outcome: Outcome) -> None:
            ledger.add(outcome.id, outcome.value)

        consume("billing.invoice", book, group="ledger")

    Delivery: at least once. An outcome is done when the handler returned, or when it was set aside and every in-sync
        replica has that. The offset is committed within a second of it, never beyond the first outcome of the
        partition that is not done. A crash repeats what was done behind that one, and its tries begin anew; so give
        (task id, generation) to whatever must happen once. Repetitions of one pair are dropped as long as they are
        among the last 100,000 outcomes that were done here.
    Ordering: outcomes of one ordering key (else of one task) are handled one after the other, in the order in which
        they ended; the later ones wait while an earlier one is tried again. Nothing else waits for it, until 500
        outcomes of its partition have come in behind it.
    Retries: what the handler raises is judged as what a task's handler raises. An exception is tried again as
        ``retry`` says, ``RetryLater`` after its delay without spending a try; ``Reject`` and what ``retry`` excludes
        are set aside at once. A record that is no outcome is set aside, too. ``laneway consumers aside`` lists what
        was, and ``laneway consumers retry`` has it handled again.
    Blocking: until SIGINT or SIGTERM, where this is the main thread. Then no handler is begun any more, and this
        returns when those that run have ended; at a second signal at once, and what ran is not committed.

    Args:
        type_name: such as ``billing.invoice``.
        handler: called with each outcome. ``async def`` runs on a loop of this thread, ``def`` in threads.
        group: members of one group share the outcomes, and a group goes on where it was. It is the name as Kafka has
            it, without our prefix.
        retry: how often and how late a failing outcome is tried again.
        concurrency: handlers at a time, at most one for each partition.
        settings: which cluster and prefix; read from the environment unless given.
        start: as in ``results``.
        follow: ``False`` ends when everything up to the present end is done.

    Raises:
        ConfigurationError: there is no such topic, or the group's name cannot be in a topic's.
        BrokerUnavailableError: no broker answers at the start, or it refuses this reader. One that is away later is
            waited for.
        RecordTooLargeError: an outcome could not be set aside; it is not committed.
        RuntimeError: there is a running event loop in this thread.
        ValueError: ``start`` is a time without a zone or a negative offset, or ``concurrency`` is below 1.
    """
    handing = _handing(type_name, handler, group, retry, concurrency, settings, start, follow)
    with asyncio.Runner() as runner:
        runner.run(_until_told(handing))


async def consume_async(
    type_name: str,
    handler: Callable[[Outcome], object],
    *,
    group: str,
    retry: RetryPolicy = _RETRY,
    concurrency: int = 1,
    settings: Settings | None = None,
    start: Start | Offsets | None = None,
    follow: bool = True,
    stop: asyncio.Event | None = None,
) -> None:
    """The same on the running event loop, without signals.

    Cancelled, it ends at once: ``async`` handlers are cancelled, and what ran is not committed.

    Args:
        type_name: as in ``consume``.
        handler: as in ``consume``; ``async def`` runs on this loop.
        group: as in ``consume``.
        retry: as in ``consume``.
        concurrency: as in ``consume``.
        settings: as in ``consume``.
        start: as in ``consume``.
        follow: as in ``consume``.
        stop: once it is set, no handler is begun any more, and this returns when those that run have ended.

    Raises:
        LanewayError: as in ``consume``.
        ValueError: as in ``consume``.
    """
    handing = _handing(type_name, handler, group, retry, concurrency, settings, start, follow)
    if stop is None:
        await handing.run()
        return
    running = asyncio.ensure_future(handing.run())
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        handing.stop()
        await asyncio.shield(running)
    finally:
        told.cancel()
        running.cancel()
        await asyncio.wait({running, told})


def _handing(
    type_name: str,
    handler: Callable[[Outcome], object],
    group: str,
    retry: RetryPolicy,
    concurrency: int,
    settings: Settings | None,
    start: Start | Offsets | None,
    follow: bool,
) -> Handing:
    check_start(start, "consume")
    if concurrency < 1:
        raise ValueError(f"consume: concurrency is {concurrency}; want 1 or more")
    if not group:
        raise ConfigurationError("group", "an empty name", "the name of a consumer group: offsets are kept under it")
    settings = settings or load_settings()
    return Handing(
        Aside(settings, type_name, group),
        handler,
        retry=retry,
        concurrency=concurrency,
        start="earliest" if start is None else start,
        follow=follow,
    )


async def _until_told(handing: Handing) -> None:
    running = asyncio.ensure_future(handing.run())
    signals = 0

    def told() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            handing.stop()
        else:
            running.cancel()

    with _signals(told):
        await asyncio.wait({running})
    if running.cancelled():
        raise KeyboardInterrupt
    running.result()


@contextmanager
def _signals(told: Callable[[], None]) -> Iterator[None]:
    """Have ``told`` called at signals that end a process; only the main thread gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in _ENDING}
    for each in _ENDING:
        loop.add_signal_handler(each, told)
    try:
        yield
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            if handler is not None:  # of nobody who could set it in Python
                signal.signal(each, handler)
