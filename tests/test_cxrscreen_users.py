"""Passwords, roles, and links that work once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import argon2
import pytest
from sqlalchemy import update

from cxrscreen import db, users
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.settings import Settings
from cxrscreen.tables import Role, SignInLink, now

GOOD = "a long enough phrase"


def test_a_password_is_kept_as_a_hash_and_verified(database: Settings) -> None:
    with db.write() as session:
        user = users.add(session, "ann", Role.READER, GOOD)
        assert user.password_hash and GOOD not in user.password_hash
        assert user.password_hash.startswith("$argon2id$")
    with db.read() as session:
        assert users.verify(session, "ann", GOOD)
        assert not users.verify(session, "ann", GOOD + "x")
        assert not users.verify(session, "bob", GOOD)


def test_who_is_off_or_has_no_password_cannot_sign_in(database: Settings) -> None:
    with db.write() as session:
        users.add(session, "ann", Role.READER, GOOD).active = False
        users.add(session, "bob", Role.READER)
    with db.read() as session:
        assert not users.verify(session, "ann", GOOD)
        assert not users.verify(session, "bob", "")


def test_bad_requests_are_refused(database: Settings) -> None:
    with db.write() as session:
        users.add(session, "ann", Role.READER)
    for call, error in (
        (lambda s: users.add(s, "ann", Role.READER), Conflict),
        (lambda s: users.add(s, "  ", Role.READER), UsageError),
        (lambda s: users.add(s, "cid", Role.READER, "short"), UsageError),
        (lambda s: users.get(s, "dan"), NotFound),
    ):
        with pytest.raises(error), db.write() as session:
            call(session)


def test_a_link_signs_in_once(database: Settings) -> None:
    with db.write() as session:
        token = users.make_link(session, users.add(session, "ann", Role.ADMIN))

    def use(_: int) -> bool:
        with db.write() as session:
            return users.use_link(session, token) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(use, range(6))) == 1


def test_an_old_or_invented_link_is_none(database: Settings) -> None:
    with db.write() as session:
        token = users.make_link(session, users.add(session, "ann", Role.ADMIN))
        session.execute(update(SignInLink).values(expires_at=now() - timedelta(seconds=1)))
    with db.write() as session:
        assert users.use_link(session, token) is None
        assert users.use_link(session, "invented") is None


def test_roles_include_those_before_them(database: Settings) -> None:
    with db.write() as session:
        operator, reader, admin = (users.add(session, role.value, role) for role in Role)
    assert not users.may(operator, Role.READER) and users.may(operator, Role.OPERATOR)
    assert users.may(reader, Role.OPERATOR) and not users.may(reader, Role.ADMIN)
    assert all(users.may(admin, role) for role in Role)


def test_an_unknown_name_is_answered_at_the_price_of_a_known_one() -> None:
    known = users._hasher.hash("a password")
    assert argon2.extract_parameters(users._NOBODY) == argon2.extract_parameters(known)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):  # and so it was computed, not refused as unreadable
        users._hasher.verify(users._NOBODY, "a password")
