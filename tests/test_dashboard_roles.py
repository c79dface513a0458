"""The table of roles says what the code does: every address stands in it once, under the role its view asks for."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from dashboard_fixtures import Site

from cxrscreen import users
from cxrscreen.tables import Role
from dashboard import roles, security

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "roles.md"


def test_every_address_is_in_the_table_under_the_role_that_its_view_asks_for(site: Site) -> None:
    seen = set()
    for endpoint, view in site.app.view_functions.items():
        if endpoint in security.OPEN:
            continue
        found = [
            (least, what) for least, names, what in roles.RIGHTS if any(fnmatch(endpoint, n) for n in names.split())
        ]
        assert len(found) == 1, (endpoint, found)
        assert found[0][0] == getattr(view, "needs", Role.OPERATOR), endpoint
        seen.add(found[0][1])
    assert seen == {what for _, names, what in roles.RIGHTS if names}


def test_the_document_is_that_table() -> None:
    lines = [f"| | {' | '.join(Role)} |", f"|---|{'---|' * len(Role)}"]
    for least, _, what in roles.RIGHTS:
        marks = ("✓" if users.RANK[role] >= users.RANK[least] else "" for role in Role)
        lines.append(f"| {what} | {' | '.join(marks)} |")
    assert "\n".join(lines) in DOCUMENT.read_text()


def test_administrators_see_it_where_they_give_roles(site: Site) -> None:
    page = site.browser("admin").page("/people")
    assert page.count('<th scope="row" class="wide">') == len(roles.RIGHTS)
    assert page.count("✓") == sum(
        users.RANK[role] >= users.RANK[least] for least, _, _ in roles.RIGHTS for role in Role
    )
