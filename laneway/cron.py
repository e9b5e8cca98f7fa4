"""Times of cron expressions in time zones, by cronsim.

A schedule with five fields whose minute and hour are set keeps its days when clocks change, as Debian's cron does: a
time that is skipped fires right after the gap, a time that comes twice fires the first time. Any other expression goes
by what the clock shows: nothing for times that it skips, twice for times that it shows twice.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_NEVER: Final = "it never comes: no such date within 50 years"


class Cron:
    """A cron expression in a time zone.

    Args:
        expression: five fields, or six with seconds first.
        timezone: IANA name.

    Raises:
        ValueError: one of the two is not that; says which by ``CronError`` or ``TimeZoneError``.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        self._expression = expression
        try:
            self.zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise TimeZoneError(f"no time zone {timezone!r}; want an IANA name such as 'Europe/Berlin'") from error
        try:
            found = self.after(datetime.now(UTC))
        except CronSimError as error:
            fields = "five fields (minute hour day month weekday), or six with seconds first"
            raise CronError(f"no cron expression: {str(error).lower()}; want {fields}") from error
        if found is None:
            raise CronError(_NEVER)

    def times(self, since: datetime) -> Iterator[datetime]:
        """Its times after ``since``, in UTC; ends where 50 years bring none."""
        for found in CronSim(self._expression, since.astimezone(self.zone)):
            at = found.astimezone(UTC)
            # In an hour that the clock shows twice, cronsim may begin with a time of the first showing.
            if at > since:
                yield at

    def after(self, since: datetime) -> datetime | None:
        """The first time after ``since``."""
        return next(self.times(since), None)

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last time after ``since`` that is not after ``until``."""
        # Backwards for the long way; forwards for what cronsim passes over backwards in an hour that comes twice.
        backwards = CronSim(self._expression, until.astimezone(self.zone), reverse=True)
        near = max(since, next(backwards, since).astimezone(UTC))
        found = near if near > since else None
        for at in self.times(near):
            if at > until:
                break
            found = at
        return found


class CronError(ValueError):
    """No cron expression, or one that never comes."""


class TimeZoneError(ValueError):
    """No time zone of this name."""
