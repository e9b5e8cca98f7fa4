"""Items cross to another loop in order, all of them, with few wake-ups, and though their sender is blocked."""

import asyncio
import threading

from streams.mailbox import PACE, Mailbox
from tests.support.waiting import eventually


async def test_all_arrive_in_order_from_another_thread() -> None:
    taken: list[int] = []
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop(), taken.append)

    def send() -> None:
        for number in range(10_000):
            mailbox.put(number)

    sender = threading.Thread(target=send)
    sender.start()
    await eventually(lambda: len(taken) == 10_000, within=10)
    sender.join()
    assert taken == list(range(10_000))


async def test_what_is_put_paced_arrives_a_little_later() -> None:
    taken: list[int] = []
    loop = asyncio.get_running_loop()
    mailbox: Mailbox[int] = Mailbox(loop, taken.append)
    began = loop.time()
    mailbox.put_paced(1, loop)
    await eventually(lambda: taken == [1])
    mailbox.put_paced(2, loop)
    mailbox.put_paced(3, loop)
    await eventually(lambda: taken == [1, 2, 3])
    assert loop.time() - began >= PACE


async def test_a_receiver_that_looks_does_not_depend_on_the_sender() -> None:
    taken: list[int] = []
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop(), taken.append)
    blocked = asyncio.new_event_loop()  # never runs, so that nothing it was told to do later happens
    try:
        mailbox._woken_at = blocked.time() + 1
        mailbox.put_paced(1, blocked)
        await asyncio.sleep(0)
        assert not taken
        mailbox.collect()
        assert taken == [1]
    finally:
        blocked.close()


async def test_what_is_put_waits_for_no_paced_one() -> None:
    taken: list[int] = []
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop(), taken.append)
    blocked = asyncio.new_event_loop()  # a handler keeps it from what it was told to do later
    try:
        mailbox._woken_at = blocked.time() + 1
        mailbox.put_paced(1, blocked)
        mailbox.put(2)
        await asyncio.sleep(0.01)
        assert taken == [1, 2]
    finally:
        blocked.close()


async def test_one_that_cannot_be_taken_does_not_strand_the_others() -> None:
    taken: list[int] = []

    def take(item: int) -> None:
        if item == 1:
            raise ValueError("not this one")
        taken.append(item)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    mailbox: Mailbox[int] = Mailbox(loop, take)
    for number in range(4):
        mailbox.put(number)
    await eventually(lambda: taken == [0, 2, 3])
