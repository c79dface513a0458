"""When a schedule begins and how long it may work: a cron expression and a window of the day, in a time zone.

Clocks that change are cron's old trouble; `cronsim` keeps Debian's rules: a time that is left out is taken at the first
minute that exists, one that comes twice counts the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from cxrscreen.errors import UsageError

# Wider than any change of clocks: cronsim steps on the wall, where an hour that comes twice looks like one.
AROUND = timedelta(hours=3)
LEAST_APART = timedelta(hours=1)
LOOKED_AT = 100  # runs, when a new expression is judged


@dataclass(frozen=True)
class Hours:
    """All moments that come out are UTC."""

    cron: str
    timezone: str
    window_from: str | None = None  # HH:MM on the wall
    window_until: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The runs after a moment, the next one first."""
        return (at for at in self._runs(moment - AROUND) if at > moment)

    def before(self, moment: datetime) -> Iterator[datetime]:
        """The runs up to and at a moment, the latest first."""
        return (at for at in self._runs(moment + AROUND, reverse=True) if at <= moment)

    def end(self, begun: datetime) -> datetime | None:
        """When the window of a run that began then closes; None where there is no window."""
        return next(self._at(self.window_until).after(begun)) if self.window_until else None

    def inside(self, moment: datetime) -> bool:
        """Whether the window is open: of its two ends the beginning is the one that came last."""
        if not self.window_from or not self.window_until:
            return True
        return next(self._at(self.window_from).before(moment)) > next(self._at(self.window_until).before(moment))

    def named(self, moment: datetime) -> str:
        """The wall's date and time to the minute: the same for both of an hour that comes twice."""
        return f"{moment.astimezone(self.zone):%Y-%m-%dT%H:%M}"

    def _runs(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        return (at.astimezone(UTC) for at in CronSim(self.cron, start.astimezone(self.zone), reverse=reverse))

    def _at(self, wall: str) -> Hours:
        return Hours(f"{int(wall[3:])} {int(wall[:2])} * * *", self.timezone)


def check(cron: str, timezone: str, window_from: str, window_until: str) -> Hours:
    """Hours as a person typed them; raises UsageError with one sentence for those that would never work."""
    found = Hours(_cron(cron), _zone(timezone), _wall(window_from), _wall(window_until))
    if bool(found.window_from) != bool(found.window_until):
        raise UsageError("A window needs both its beginning and its end; leave both empty for none.")
    if found.window_from and found.window_from == found.window_until:
        raise UsageError(f"A window from {found.window_from} to {found.window_until} has no length.")
    moment = datetime.now(UTC)
    even = list(islice(Hours(found.cron, "UTC").after(moment), LOOKED_AT))
    if not even:
        raise UsageError(f"The cron expression {found.cron!r} never fires: no day fits it.")
    if any(later - earlier < LEAST_APART for earlier, later in pairwise(even)):
        raise UsageError(f"The cron expression {found.cron!r} begins more than once an hour.")
    for at in islice(found.after(moment), LOOKED_AT):
        if not found.inside(at):
            raise UsageError(
                f"It would begin at {at.astimezone(found.zone):%H:%M}, outside its window from {found.window_from} "
                f"to {found.window_until}, and so never work then."
            )
    return found


def explain(cron: str) -> str:
    """The expression in words."""
    said: str = CronSim(cron, datetime.now(UTC)).explain()
    return said


def _cron(text: str) -> str:
    parts = text.split()
    if len(parts) != 5:
        raise UsageError(
            f"A cron expression has five fields (minute hour day month weekday), such as '0 22 * * *', not {text!r}."
        )
    cron = " ".join(parts)
    if len(cron) > 100:
        raise UsageError("A cron expression takes at most 100 characters.")
    try:
        CronSim(cron, datetime.now(UTC))
    except (CronSimError, AssertionError, TypeError):
        for number, part in enumerate(parts):
            if not _fits(["*"] * number + [part] + ["*"] * (4 - number)):
                raise UsageError(
                    f"{cron!r} is no cron expression: its field {number + 1}, {part!r}, cannot be read."
                ) from None
        if _fits([*parts[:3], "*", parts[4]]):
            raise UsageError(f"The cron expression {cron!r} never fires: its months have no such day.") from None
        raise UsageError(f"{cron!r} is no cron expression: it cannot be read.") from None
    return cron


def _fits(parts: list[str]) -> bool:
    try:
        CronSim(" ".join(parts), datetime.now(UTC))
    except (CronSimError, AssertionError, TypeError):
        return False
    return True


def _wall(text: str) -> str | None:
    if not text.strip():
        return None
    try:
        return time.fromisoformat(text.strip().zfill(5)).strftime("%H:%M")
    except ValueError:
        raise UsageError(f"A time of day looks like 22:00, not {text!r}.") from None


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {text!r}; use an IANA name such as Europe/Minsk.") from None
