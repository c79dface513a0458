"""Schedules: at what time of day, in which zone, the archive is screened again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import audit
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.tables import Schedule, User


def every(session: Session) -> list[Schedule]:
    return list(session.scalars(select(Schedule).order_by(Schedule.id)))


def by_id(session: Session, schedule_id: int) -> Schedule:
    schedule = session.get(Schedule, schedule_id)
    if schedule is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return schedule


def add(session: Session, name: str, at: str, timezone: str, actor: User | str) -> Schedule:
    name = name.strip()
    if not name:
        raise UsageError("A schedule needs a name.")
    if session.scalar(select(Schedule.id).where(Schedule.name == name)) is not None:
        raise Conflict(f"There is already a schedule named {name!r}.")
    schedule = Schedule(name=name, at=_time_of_day(at), timezone=_zone(timezone), enabled=True)
    session.add(schedule)
    session.flush()
    _tell(session, schedule, actor)
    return schedule


def change(session: Session, schedule: Schedule, *, at: str, timezone: str, enabled: bool, actor: User | str) -> None:
    """Raises UsageError for a time of day or a zone that does not exist."""
    schedule.at, schedule.timezone, schedule.enabled = _time_of_day(at), _zone(timezone), enabled
    _tell(session, schedule, actor)


def last_due(schedule: Schedule, moment: datetime) -> datetime:
    """The last moment at or before `moment` at which the clock on the wall showed the schedule's time, in UTC.

    A time that a change of clocks leaves out is read with the offset before the change, so that night comes an hour
    late; one that comes twice counts the first time.
    """
    return max(due for due in _around(schedule, moment, range(-2, 1)) if due <= moment)


def next_due(schedule: Schedule, moment: datetime) -> datetime:
    """The first moment after `moment` at which the clock on the wall shows the schedule's time, in UTC."""
    return min(due for due in _around(schedule, moment, range(3)) if due > moment)


def _around(schedule: Schedule, moment: datetime, days: Iterable[int]) -> list[datetime]:
    zone = ZoneInfo(schedule.timezone)
    at = time.fromisoformat(schedule.at)
    today = moment.astimezone(zone).date()
    return [datetime.combine(today + timedelta(days=ahead), at, tzinfo=zone).astimezone(UTC) for ahead in days]


def _time_of_day(text: str) -> str:
    try:
        return time.fromisoformat(text.strip()).strftime("%H:%M")
    except ValueError:
        raise UsageError(f"A time of day looks like 22:00, not {text!r}.") from None


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {text!r}; use an IANA name such as Europe/Minsk.") from None


def _tell(session: Session, schedule: Schedule, actor: User | str) -> None:
    audit.record(
        session,
        actor,
        "schedule.set",
        f"schedule {schedule.id}",
        name=schedule.name,
        at=schedule.at,
        zone=schedule.timezone,
        enabled=schedule.enabled,
    )
