"""`models` and `users`: what an administrator keeps in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from cxrscreen.cli.common import check_bundle, open_database
from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import answered, new_password, out, show

if TYPE_CHECKING:
    from cxrscreen import audit, blobs, compare, db, local, registry, tables, tokens, users
else:
    audit, blobs, compare, db, local = later("audit", "blobs", "compare", "db", "local")
    registry, tables, tokens, users = later("registry", "tables", "tokens", "users")

ROLES = click.Choice(["operator", "reader", "admin"])


@click.group("models")
def models_group() -> None:
    """List, compare, activate and roll back model versions."""


@models_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List what is registered, the newest first."""
    open_database()
    with db.read() as session:
        rows = [
            {
                "id": version.id,
                "name": version.name,
                "state": version.state.value,
                "threshold": registry.threshold(session, version.id),
                "phantom": version.phantom,
                "backbone": version.record.get("backbone"),
                "subclasses": len(version.record["subclasses"]),
                "sha256": version.sha256,
            }
            for version in registry.every(session)
        ]
    nothing = "No models yet. `cxrscreen train` makes a bundle, `cxrscreen models register` takes it in."
    if answered(rows, as_json, nothing):
        return
    table = Table(*("id", "name", "state", "threshold", "backbone", "subclasses", ""), box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            str(row["id"]),
            str(row["name"]),
            str(row["state"]),
            f"{row['threshold']:.3f}",
            str(row["backbone"]),
            str(row["subclasses"]),
            "PHANTOM: for demonstration only" if row["phantom"] else "",
        )
    show(table)


@models_group.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Another name than the bundle's own.")
@click.option("--activate", "now", is_flag=True, help="Make it the version that people see, too.")
def register(folder: Path, name: str | None, now: bool) -> None:
    """Take a bundle into the store.

    FOLDER is what `train` wrote. The version is a candidate, which screens in shadow, until it is activated.
    """
    check_bundle(folder)
    open_database()
    with db.write() as session:
        version = registry.register(session, blobs.store(), folder, name=name)
        if now:
            registry.activate(session, version, "command line")
    out.print(f"{version.name}: {version.state.value}", markup=False)


@models_group.command()
@click.argument("name")
@click.option("--sign-off", default="at the command line", help="Why, in your words; kept with the change.")
def activate(name: str, sign_off: str) -> None:
    """Make a version the one that people see.

    NAME is a name or a number of `models list`. The version before is kept, and `models rollback` gives it back.
    """
    open_database()
    with db.write() as session:
        version = registry.get(session, name)
        before = registry.activate(session, version, "command line", sign_off)
    if before is version:
        out.print(f"{version.name} is active already; nothing was changed.", markup=False)
        return
    out.print(f"{version.name} is active" + (f"; before it was {before.name}" if before else ""), markup=False)
    out.print("`cxrscreen rescreen` scores the archive with it; until then the worklist shows what it has scored.")


@models_group.command()
def rollback() -> None:
    """Give people back the version before.

    That is the one they saw before the last activation.
    """
    open_database()
    with db.write() as session:
        name = registry.roll_back(session, "command line").name
    out.print(f"{name} is active again", markup=False)


@models_group.command("compare")
@click.argument("first")
@click.argument("second")
def compare_models(first: str, second: str) -> None:
    """Compare two versions on the studies of both.

    Prints JSON: what each flags of the studies that both have scored, and which would change.
    """
    open_database()
    with db.read() as session:
        said = compare.versions(session, registry.get(session, first), registry.get(session, second))
    click.echo(json.dumps(said, indent=2))


@click.group("users")
def users_group() -> None:
    """List and add people, change roles and passwords."""


@users_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_users(as_json: bool) -> None:
    """List the people, their roles, and their last sign-ins (UTC)."""
    open_database()
    with db.read() as session:
        entered = users.last_sign_ins(session)
        rows = [
            {
                "id": user.id,
                "name": user.name,
                "role": user.role.value,
                "active": user.active,
                "password": user.password_hash is not None,
                "created": user.created_at.isoformat(timespec="seconds"),
                "last_sign_in": entered[user.id].isoformat(timespec="seconds") if user.id in entered else None,
            }
            for user in users.every(session)
        ]
    if answered(rows, as_json, "Nobody yet. `cxrscreen users add NAME` adds a person."):
        return
    table = Table(*("id", "name", "role", "last sign-in", ""), box=None, pad_edge=False)
    for row in rows:
        noted = [] if row["active"] else ["kept out"]
        noted += [] if row["password"] else ["no password yet"]
        last = str(row["last_sign_in"] or "never").replace("T", " ").removesuffix("+00:00")
        table.add_row(str(row["id"]), str(row["name"]), str(row["role"]), last, ", ".join(noted))
    show(table)


@users_group.command()
@click.argument("name")
@click.option("--role", type=ROLES, default="reader", show_default=True, help="As for `users role`.")
@click.option("--link", is_flag=True, help="Print a one-time sign-in link instead of asking for a password.")
def add(name: str, role: str, link: bool) -> None:
    """Add a person; asks for the password.

    Without a terminal the password is the first line of the standard input.
    """
    open_database()
    with db.read() as session:
        users.need_free(session, name)
    password = None if link else new_password()
    with db.write() as session:
        user = users.add(session, name, tables.Role(role), password)
        token = users.make_link(session, user) if link else None
    if token:
        address = local.told().get("address", "http://ADDRESS-OF-THE-DASHBOARD")
        out.print(f"{address}/enter/{token}", markup=False)


@users_group.command("token")
@click.argument("name")
@click.argument("purpose")
@click.option("--role", type=ROLES, help="It may do no more than this role; default: the person's own.")
@click.option("--days", type=int, default=365, show_default=True, help="For how long it is good.")
@click.option("--revoke", is_flag=True, help="End the token of this purpose instead of making one.")
def token(name: str, purpose: str, role: str | None, days: int, revoke: bool) -> None:
    """Print a token for a program that asks in a person's name.

    PURPOSE is what it is for, and what it is revoked by. It is shown only now; docs/api.md tells what it opens.
    """
    open_database()
    with db.write() as session:
        user = users.get(session, name)
        if revoke:
            tokens.revoke(session, user, purpose, "command line")
            return
        chosen = tables.Role(role) if role else user.role
        made = tokens.make(session, user, purpose, chosen, days, "command line")
    out.print(made, markup=False, highlight=False, soft_wrap=True)


@users_group.command("role")
@click.argument("name")
@click.argument("role", type=ROLES)
def set_role(name: str, role: str) -> None:
    """Change a person's role.

    Operators upload and schedule; readers also give verdicts; administrators also manage people, models and
    thresholds. The person has to sign in anew.
    """
    open_database()
    with db.write() as session:
        user = users.get(session, name)
        users.set_role(session, user, tables.Role(role), "command line")


@users_group.command("password")
@click.argument("name")
def set_password(name: str) -> None:
    """Change a person's password; asks for it.

    Without a terminal it is the first line of the standard input.
    """
    open_database()
    with db.read() as session:
        users.get(session, name)
    password = new_password()
    with db.write() as session:
        user = users.get(session, name)
        users.set_password(user, password)
        audit.record(session, "command line", "user.password", f"user {user.id}")
