"""Lanes share slots by weight, none starves, and one slot is kept for `high`."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.task import Priority
from streams.scheduler import WEIGHTS, SlotScheduler

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scheduler(slots: int, clock: Clock | None = None, bound: float = 1e9) -> SlotScheduler[Priority]:
    return SlotScheduler(slots, clock=clock or Clock(), age_bound=timedelta(seconds=min(bound, 1e8)))


def test_lanes_with_work_share_as_their_weights() -> None:
    slots = scheduler(1)
    for priority in Priority:
        for _ in range(200):
            slots.add(priority, priority)
    taken: Counter[Priority] = Counter()
    for _ in range(140):
        given_to = slots.take()
        assert given_to is not None
        taken[given_to] += 1
        slots.release(given_to)
    assert taken == {priority: weight * 10 for priority, weight in WEIGHTS.items()}


def test_an_idle_lane_lends_its_share() -> None:
    slots = scheduler(4)
    for _ in range(10):
        slots.add(LOW, LOW)
    assert [slots.take() for _ in range(4)] == [LOW, LOW, LOW, None]


def test_the_last_slot_is_for_high() -> None:
    slots = scheduler(4)
    for _ in range(10):
        slots.add(LOW, LOW)
        slots.add(NORMAL, NORMAL)
    while slots.take() is not None:
        pass
    assert slots.running == 3
    slots.add(HIGH, HIGH)
    assert slots.take() is HIGH


def test_a_lone_slot_is_for_everybody() -> None:
    slots = scheduler(1)
    slots.add(LOW, LOW)
    assert slots.take() is LOW


def test_high_that_arrives_is_next() -> None:
    slots = scheduler(1)
    for _ in range(100):
        slots.add(LOW, LOW)
    assert slots.take() is LOW
    slots.release(LOW)
    slots.add(HIGH, HIGH)
    assert slots.take() is HIGH


def test_what_is_unwanted_is_forgotten() -> None:
    slots = scheduler(2)
    slots.add(LOW, LOW)
    slots.add(HIGH, HIGH)
    slots.discard(LOW, lambda _: True)
    assert (slots.waiting(LOW), slots.waiting(HIGH)) == (0, 1)


@given(
    st.lists(st.tuples(st.sampled_from(list(Priority)), st.integers(0, 3)), min_size=1, max_size=200),
    st.integers(1, 5),
)
def test_no_head_waits_past_its_bound_while_slots_turn_over(
    arrivals: list[tuple[Priority, int]], slot_count: int
) -> None:
    """Each step lets some arrive, then turns every slot over; a head past the bound goes out in its turn."""
    clock = Clock()
    bound = 10.0
    slots: SlotScheduler[tuple[Priority, float]] = SlotScheduler(
        slot_count, clock=clock, age_bound=timedelta(seconds=bound)
    )
    waiting = dict.fromkeys(Priority, 0)
    for priority, count in arrivals * 3:
        clock.now += 1
        for _ in range(count):
            slots.add(priority, (priority, clock.now))
            waiting[priority] += 1
        taken = []
        while (item := slots.take()) is not None:
            taken.append(item)
            assert slots.running <= slot_count
        for item in taken:
            slots.release(item[0])
            waiting[item[0]] -= 1
        overdue = [
            priority
            for priority in Priority
            if slots.waiting(priority) and clock.now - slots._lanes[priority].waiting[0][0] > bound
        ]
        # Whoever is overdue comes before everybody else: if one was left out, all that went out had waited longer.
        for priority in overdue:
            head = slots._lanes[priority].waiting[0][0]
            before = [item for item in taken if item[1] <= head]
            kept_for_high = slot_count > 1
            assert len(before) >= min(len(taken), slot_count - (1 if kept_for_high else 0))
    assert all(slots.waiting(priority) == count for priority, count in waiting.items())
