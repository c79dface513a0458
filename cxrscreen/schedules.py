"""Schedules: when the archive is read again, over what, with which version and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, hours, jobs, registry, sources
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.hours import Hours
from cxrscreen.tables import Job, ModelPolicy, ModelVersion, Night, Schedule, User, now

ONLY = ("all", "flagged", "unflagged")
MOST_A_MINUTE = 1_000_000


@dataclass(frozen=True)
class Wish:
    """A schedule as a person types it; empty means none."""

    name: str
    cron: str = "0 22 * * *"
    timezone: str = "UTC"
    window_from: str = ""
    window_until: str = ""
    policy: str = ModelPolicy.ACTIVE.value
    model: str = ""  # of the policy "version"
    since: str = ""  # ISO date
    folder: str = ""  # or a prefix of an object store
    watch: bool = False  # of the folder just what is new each time
    job: str = ""
    only: str = "all"
    rate: str = ""
    enabled: bool = True


def wish_of(session: Session, row: Schedule) -> Wish:
    """What a person would type for a schedule as it is."""
    version = session.get(ModelVersion, row.model_version_id) if row.model_version_id else None
    flagged = row.scope.get("flagged")
    return Wish(
        name=row.name,
        cron=row.cron,
        timezone=row.timezone,
        window_from=row.window_from or "",
        window_until=row.window_until or "",
        policy=row.policy.value,
        model=version.name if version else "",
        since=row.scope.get("since", "")[:10],
        folder=row.scope.get("folder", ""),
        watch=bool(row.scope.get("watch")),
        job=str(row.scope.get("job", "")),
        only="all" if flagged is None else "flagged" if flagged else "unflagged",
        rate=str(row.rate or ""),
        enabled=row.enabled,
    )


def every(session: Session) -> list[Schedule]:
    return list(session.scalars(select(Schedule).order_by(Schedule.id)))


def by_id(session: Session, schedule_id: int) -> Schedule:
    schedule = session.get(Schedule, schedule_id)
    if schedule is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return schedule


def by_name(session: Session, name: str) -> Schedule:
    schedule = session.scalar(select(Schedule).where(Schedule.name == name))
    if schedule is None:
        raise NotFound(f"There is no schedule {name!r}; `cxrscreen schedules list` shows what there is.")
    return schedule


def hours_of(schedule: Schedule) -> Hours:
    return Hours(schedule.cron, schedule.timezone, schedule.window_from, schedule.window_until)


def next_runs(wanted: Hours, moment: datetime, count: int = 3) -> list[tuple[datetime, datetime | None]]:
    """The next runs with the ends of their windows, in the schedule's own time zone."""
    ends = ((at, wanted.end(at)) for at in islice(wanted.after(moment), count))
    return [(at.astimezone(wanted.zone), end and end.astimezone(wanted.zone)) for at, end in ends]


def check(session: Session, wish: Wish, *, bound: bool = False) -> dict[str, Any]:
    """The columns of a wish. Raises UsageError or NotFound with one sentence for what would never work.

    `bound`: a folder has to lie under an allowed root, as for everybody who comes by the dashboard.
    """
    name = wish.name.strip()
    if not name:
        raise UsageError("A schedule needs a name.")
    if len(name) > 100:
        raise UsageError("The name of a schedule takes at most 100 characters.")
    wanted = hours.check(wish.cron, wish.timezone, wish.window_from, wish.window_until)
    policy, version_id = _policy(session, wish)
    return {
        "name": name,
        "cron": wanted.cron,
        "timezone": wanted.timezone,
        "window_from": wanted.window_from,
        "window_until": wanted.window_until,
        "policy": policy,
        "model_version_id": version_id,
        "scope": _scope(session, wish, bound),
        "rate": _rate(wish.rate),
        "enabled": wish.enabled,
    }


def add(session: Session, wish: Wish, actor: User | str, *, bound: bool = False) -> Schedule:
    values = check(session, wish, bound=bound)
    _free(session, values["name"], None)
    schedule = Schedule(**values)
    session.add(schedule)
    session.flush()
    _tell(session, schedule, actor)
    return schedule


def change(session: Session, schedule: Schedule, wish: Wish, actor: User | str, *, bound: bool = False) -> None:
    values = check(session, wish, bound=bound)
    _free(session, values["name"], schedule.id)
    times = ("cron", "timezone", "window_from", "window_until", "enabled")
    if any(getattr(schedule, key) != values[key] for key in times):
        # A new hour that is already past today is for tomorrow, as the page said before it was saved.
        schedule.armed_at = now()
    for key, value in values.items():
        setattr(schedule, key, value)
    _tell(session, schedule, actor)


def remove(session: Session, schedule: Schedule, actor: User | str) -> None:
    """Its jobs stay, its nights go. Raises Conflict while one of its jobs is unfinished: nobody would pause it."""
    ended = select(Job.id).where(Job.schedule_id == schedule.id, Job.state.not_in(jobs.OPEN)).order_by(Job.id)
    ordered = ended.with_for_update(key_share=True)
    session.execute(update(Job).where(Job.id.in_(ordered)).values(schedule_id=None))
    # After its jobs, as where one is tried again, and until the commit: a beat that opens a night waits and finds it
    # gone, or was first and has a job.
    if session.scalar(select(Schedule.id).where(Schedule.id == schedule.id).with_for_update()) is None:
        raise NotFound(f"There is no schedule {schedule.id}.")
    unfinished = session.scalar(select(Job.id).where(Job.schedule_id == schedule.id).limit(1))
    if unfinished is not None:
        raise Conflict(f"Job {unfinished} of {schedule.name!r} is not done: let it end or cancel it first.")
    session.execute(delete(Night).where(Night.schedule_id == schedule.id))
    audit.record(session, actor, "schedule.remove", f"schedule {schedule.id}", name=schedule.name)
    session.delete(schedule)


def _policy(session: Session, wish: Wish) -> tuple[ModelPolicy, int | None]:
    if wish.policy not in ModelPolicy._value2member_map_:
        raise UsageError(f"Which model is one of {', '.join(ModelPolicy)}, not {wish.policy!r}.")
    policy = ModelPolicy(wish.policy)
    if policy != ModelPolicy.VERSION:
        return policy, None
    if not wish.model:
        raise UsageError("Name the model version that this schedule screens with.")
    return policy, registry.get(session, wish.model).id


def _scope(session: Session, wish: Wish, bound: bool) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    if wish.since:
        try:
            scope["since"] = datetime.strptime(wish.since, "%Y-%m-%d").replace(tzinfo=UTC).isoformat()
        except ValueError:
            raise UsageError(f"A date looks like 2026-11-24, not {wish.since!r}.") from None
    if wish.only not in ONLY:
        raise UsageError(f"Which studies is one of {', '.join(ONLY)}, not {wish.only!r}.")
    if wish.only != "all":
        scope["flagged"] = wish.only == "flagged"
    if wish.job:
        if not wish.job.isascii() or not wish.job.isdigit() or len(wish.job) > 15:
            raise UsageError(f"A job is named by its number, not {wish.job[:40]!r}.")
        scope["job"] = jobs.get(session, int(wish.job)).id
    if wish.folder:
        if scope:
            raise UsageError("A folder is read whole: leave the date, the job and the flagged ones out.")
        scope["folder"] = sources.allowed(wish.folder) if bound else sources.named(wish.folder)
    if wish.watch:
        if not wish.folder:
            raise UsageError("Name the folder or the prefix to watch.")
        scope["watch"] = True
        if not sources.is_url(wish.folder):
            scope["folder"] = str(Path(scope["folder"]).resolve())
    return scope


def _rate(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isascii() or not text.strip().isdigit() or not 1 <= int(text[:15]) <= MOST_A_MINUTE:
        raise UsageError(f"Images a minute is a whole number from 1 to {MOST_A_MINUTE}, not {text[:40]!r}.")
    return int(text)


def _free(session: Session, name: str, mine: int | None) -> None:
    taken = session.scalar(select(Schedule.id).where(Schedule.name == name))
    if taken is not None and taken != mine:
        raise Conflict(f"There is already a schedule named {name!r}.")


def _tell(session: Session, schedule: Schedule, actor: User | str) -> None:
    audit.record(
        session,
        actor,
        "schedule.set",
        f"schedule {schedule.id}",
        name=schedule.name,
        cron=schedule.cron,
        zone=schedule.timezone,
        window=f"{schedule.window_from}-{schedule.window_until}" if schedule.window_from else None,
        policy=schedule.policy.value,
        model=schedule.model_version_id,
        scope=schedule.scope,
        rate=schedule.rate,
        enabled=schedule.enabled,
    )
