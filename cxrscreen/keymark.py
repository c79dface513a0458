"""One database, one key of pseudonyms: a fingerprint in it, so that nobody names a study anew under another key."""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from cxrscreen import audit, db
from cxrscreen.errors import UsageError
from cxrscreen.settings import get_settings
from cxrscreen.tables import KeyMark, now

PURPOSE = "pseudonyms"
BEHIND = "The database is not at this version's schema: run `cxrscreen db upgrade`."
ANOTHER = (
    "This machine has another pseudonym key than the database, and would take every study that comes again for a new "
    "one: copy secrets/pseudonym.key out of the data folder of a machine that has the right one (or set "
    "CXRSCREEN_PSEUDONYM_KEY as there); if it is lost for good, see `cxrscreen db accept-key --help`."
)


class Standing(StrEnum):
    OURS = "ours"
    ANOTHER = "another"
    NONE = "none"  # yet
    UNASKED = "unasked"  # identifiers are kept: no study's name hangs on the key


def fingerprint() -> str:
    """What tells this process's key from others, and not what it is: 16 hexadecimal digits."""
    secret = get_settings().pseudonym_secret().encode()
    return hmac.digest(secret, b"the fingerprint of this key", hashlib.sha256).hex()[:16]


def standing(session: Session) -> Standing:
    """How this process's key stands to the database's. Raises UsageError where the schema has no place for one yet.

    Where identifiers are kept, the key decides only which files of a watched folder are known and which cases are read
    blind: nobody is kept from work for that.
    """
    if get_settings().keep_identifiers:
        return Standing.UNASKED
    if not inspect(session.connection()).has_table(KeyMark.__tablename__):
        raise UsageError(BEHIND)
    found = _kept(session)
    if found is None:
        return Standing.NONE
    return Standing.OURS if hmac.compare_digest(found, fingerprint()) else Standing.ANOTHER


def need_ours() -> None:
    """Raise UsageError unless this process has the database's key. A database without a fingerprint gets ours: of
    several that come to it at once one is first, and the others are held against that."""
    with db.read() as session:
        found = standing(session)
    if found is Standing.NONE:
        with db.write() as session:
            session.execute(
                db.insert_for(session, KeyMark)
                .values(purpose=PURPOSE, fingerprint=fingerprint(), since=now())
                .on_conflict_do_nothing(index_elements=["purpose"])
            )
            found = standing(session)
    if found is Standing.ANOTHER:
        raise UsageError(ANOTHER)


def accept(session: Session, actor: str) -> None:
    """From now on the database's key is this process's; machines with the former one are refused at their start."""
    before, ours = _kept(session), fingerprint()
    fresh = db.insert_for(session, KeyMark).values(purpose=PURPOSE, fingerprint=ours, since=now())
    session.execute(
        fresh.on_conflict_do_update(
            index_elements=["purpose"], set_={"fingerprint": fresh.excluded.fingerprint, "since": fresh.excluded.since}
        )
    )
    audit.record(session, actor, "database.key", "database", **{"from": before, "to": ours})


def _kept(session: Session) -> str | None:
    return session.scalar(select(KeyMark.fingerprint).where(KeyMark.purpose == PURPOSE))
