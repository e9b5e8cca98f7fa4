"""Times of cron expressions: zones, clocks that change, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laneway.cron import Cron, CronError, TimeZoneError

BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)
"""At 02:00 the clock goes to 03:00."""
AUTUMN = datetime(2026, 10, 25, 0, 0, tzinfo=BERLIN)
"""At 03:00 the clock goes back to 02:00."""


def shown(expression: str, since: datetime, count: int = 3) -> list[str]:
    return [at.astimezone(BERLIN).isoformat() for at in islice(Cron(expression, "Europe/Berlin").times(since), count)]


def test_a_daily_time_in_the_gap_fires_right_after_it_and_keeps_its_days() -> None:
    assert shown("30 2 * * *", SPRING) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
        "2026-03-31T02:30:00+02:00",
    ]


def test_a_daily_time_in_the_hour_that_comes_twice_fires_once() -> None:
    assert shown("30 2 * * *", AUTUMN, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    # Whoever looks between its two showings does not get the first once more.
    between = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert shown("30 2 * * *", between, 1) == ["2026-10-26T02:30:00+01:00"]


def test_every_half_hour_goes_by_the_clock_in_both_nights() -> None:
    spring = shown("*/30 * * * *", SPRING, 5)
    assert spring[2:] == ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    autumn = shown("*/30 * * * *", AUTUMN, 8)
    assert autumn[3:7] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
    ]


def test_with_seconds_a_time_in_the_gap_does_not_fire_and_a_repeated_one_fires_twice() -> None:
    assert shown("0 30 2 * * *", SPRING, 1) == ["2026-03-30T02:30:00+02:00"]
    assert shown("0 30 2 * * *", AUTUMN, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]


@given(
    expression=st.sampled_from(
        ["30 2 * * *", "0 30 2 * * *", "*/30 * * * *", "0 */2 * * *", "15,45 1-3 * * *", "5 2 * * SUN", "*/7 * * * * *"]
    ),
    night=st.sampled_from([SPRING, AUTUMN]),
    since=st.integers(0, 6 * 3600),
    length=st.integers(0, 30 * 3600),
)
def test_the_latest_is_the_last_of_all(expression: str, night: datetime, since: int, length: int) -> None:
    cron = Cron(expression, "Europe/Berlin")
    start = night.astimezone(UTC) + timedelta(seconds=since)
    end = start + timedelta(seconds=length if "*/7" not in expression else length // 100)
    passed = []
    for at in cron.times(start):
        if at > end:
            break
        passed.append(at)
    assert passed == sorted(set(passed))
    assert cron.latest(start, end) == (passed[-1] if passed else None)


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * * *", "61 * * * *", "*/0 * * * *", "a b c d e", "@daily", "1-0 * * * *"]
)
def test_no_cron_expression(expression: str) -> None:
    with pytest.raises(CronError, match="want five fields"):
        Cron(expression, "UTC")


@pytest.mark.parametrize("expression", ["* * */20 * 1L", "0 0 30 2 *"])
def test_what_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(CronError):
        Cron(expression, "UTC")


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "Europe", "Europe/Berlin\0", "é"]
)
def test_no_time_zone(zone: str) -> None:
    with pytest.raises(TimeZoneError, match="IANA"):
        Cron("* * * * *", zone)
