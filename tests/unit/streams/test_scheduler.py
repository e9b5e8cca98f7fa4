"""Lanes share slots by weight, none starves, and one slot is kept for `high`."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.task import Priority
from streams.scheduler import WEIGHTS, Room, SlotScheduler

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


def test_no_slot_is_kept_for_high_where_others_run_it() -> None:
    slots = SlotScheduler[str](3, clock=lambda: 0.0, high_comes=False)
    for number in range(4):
        slots.add(Priority.LOW, f"low-{number}")
    assert [slots.take() for _ in range(4)] == ["low-0", "low-1", "low-2", None]


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
    """Each step lets some arrive, then turns every slot over: a lane is served within its bound and three turns."""
    clock = Clock()
    bound = 10.0
    slots: SlotScheduler[Priority] = SlotScheduler(slot_count, clock=clock, age_bound=timedelta(seconds=bound))
    waiting = dict.fromkeys(Priority, 0)
    served_at = dict.fromkeys(Priority, 0.0)
    for priority, count in arrivals * 3:
        clock.now += 1
        for _ in range(count):
            if not waiting[priority]:
                served_at[priority] = clock.now
            slots.add(priority, priority)
            waiting[priority] += 1
        taken = []
        while (item := slots.take()) is not None:
            taken.append(item)
            assert slots.running <= slot_count
        for item in taken:
            slots.release(item)
            waiting[item] -= 1
            served_at[item] = clock.now
        for each in Priority:
            # Two other lanes may have become overdue before it, and each takes one turn of a slot.
            assert not waiting[each] or clock.now - served_at[each] <= bound + 3
    assert all(slots.waiting(priority) == count for priority, count in waiting.items())


@given(st.lists(st.sampled_from(list(Priority)), min_size=1, max_size=400), st.integers(1, 6))
def test_whoever_waits_is_passed_over_by_at_most_the_others_shares(arrivals: list[Priority], slot_count: int) -> None:
    """Whatever arrives and when, between two starts of a lane that has work the others start at most two rounds."""
    slots = scheduler(slot_count)
    passed_over = dict.fromkeys(Priority, 0)
    running: list[Priority] = []
    for priority in arrivals:
        slots.add(priority, priority)
        while (item := slots.take()) is not None:
            running.append(item)
            for other in Priority:
                passed_over[other] = 0 if other is item or not slots.waiting(other) else passed_over[other] + 1
        if running:
            slots.release(running.pop(0))
        # A renewal may fall between: at most what is left of one round, and one whole round of the others.
        assert all(count <= 2 * (sum(WEIGHTS.values()) - WEIGHTS[each]) for each, count in passed_over.items())


def test_a_saturated_high_lane_leaves_low_its_share() -> None:
    """`high` has always exactly one waiting, the pattern that a reset share would let starve the others."""
    slots = scheduler(1)
    for _ in range(1_000):
        slots.add(LOW, LOW)
    taken: Counter[Priority] = Counter()
    for _ in range(500):
        if not slots.waiting(HIGH):
            slots.add(HIGH, HIGH)
        given_to = slots.take()
        assert given_to is not None
        taken[given_to] += 1
        slots.release(given_to)
    assert taken[LOW] == 500 * WEIGHTS[LOW] // (WEIGHTS[LOW] + WEIGHTS[HIGH])


def test_a_long_queue_does_not_count_as_age() -> None:
    """Tasks that all waited long behind others of their lane must not take the turns of `high`."""
    clock = Clock()
    slots = scheduler(1, clock, bound=10)
    for _ in range(100):
        slots.add(LOW, LOW)
    for _ in range(20):
        assert slots.take() is LOW
        clock.now += 5
        slots.release(LOW)
    slots.add(HIGH, HIGH)
    assert slots.take() is HIGH


def test_where_only_high_has_room_nobody_else_starts() -> None:
    slots = scheduler(8)
    slots.add(LOW, LOW)
    assert slots.take(Room.HIGH) is None
    slots.add(HIGH, HIGH)
    assert slots.take(Room.NONE) is None
    assert slots.take(Room.HIGH) is HIGH


def test_high_passes_others_no_more_often_than_its_share_allows() -> None:
    slots = scheduler(100)
    for _ in range(60):
        slots.add(HIGH, HIGH)
        slots.add(LOW, LOW)
    passed = 0
    while slots.take(Room.HIGH_IN_ITS_SHARE) is HIGH:
        passed += 1
    assert passed == WEIGHTS[HIGH]
    # What is left of the round is theirs whom it passed; the next one brings its share anew.
    assert [slots.take() for _ in range(3)] == [LOW, LOW, HIGH]
    assert slots.take(Room.HIGH_IN_ITS_SHARE) is HIGH
