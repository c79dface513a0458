"""`archive`: is all there that should be, and only that; deleting a study."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from cxrscreen.cli.common import open_database
from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import out
from cxrscreen.errors import Conflict

if TYPE_CHECKING:
    from cxrscreen import belonging, blobs, db, deletion, inventory, orphans, studies
else:
    belonging, blobs, db, deletion = later("belonging", "blobs", "db", "deletion")
    inventory, orphans, studies = later("inventory", "orphans", "studies")

SENTENCES = {
    "missing": "named by a row, not in the store",
    "damaged": "bytes are not what the name says",
    "orphan": "no row names it; the sweep removes it in time",
    "remainder": "left by a writer that was killed; the sweep removes it in time",
}


@click.group("archive")
def archive_group() -> None:
    """Look after the store: check it, delete a study."""


@archive_group.command()
@click.option("--quick", is_flag=True, help="Do not read the blobs: look for what is missing or without a row only.")
@click.option("--sweep", is_flag=True, help="Remove what has had no row for longer than CXRSCREEN_ORPHAN_HOURS.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(quick: bool, sweep: bool, as_json: bool) -> None:
    """Hold the store against the database.

    Every hash is reckoned anew; what is missing, damaged or named by no row is listed. Exit status 1 where an original,
    an upload or a file of a folder is missing or damaged.
    """
    open_database()
    store = blobs.store()
    store.require()
    count = inventory.Count()
    lost = 0
    troubles: Counter[inventory.Trouble] = Counter()
    for finding in inventory.inspect(store, count, hashes=not quick):
        troubles[finding.trouble] += 1
        lost += not finding.harmless
        if not as_json:
            out.print(f"{finding.trouble.value}  {finding.kind}/{finding.name}", markup=False)
    removed = _sweep(store) if sweep else 0
    told = {trouble.value: troubles[trouble] for trouble in inventory.Trouble}
    if as_json:
        told_blobs = {"blobs": dict(count.blobs), "hashed": dict(count.hashed)}
        click.echo(json.dumps({**told_blobs, **told, "lost": lost, "condemned_or_removed": removed}, indent=2))
    else:
        for kind, number in sorted(count.blobs.items()):
            out.print(f"{number:>9,} {kind}, {count.hashed[kind]:,} hashed", markup=False)
        for trouble in inventory.Trouble:
            out.print(f"{troubles[trouble]:>9,} {trouble.value}: {SENTENCES[trouble]}", markup=False)
        if sweep:
            out.print(f"{removed:>9,} condemned or removed", markup=False)
    raise click.exceptions.Exit(1 if lost else 0)


@archive_group.command("delete")
@click.argument("study_id", type=int, metavar="STUDY")
@click.option("--why", default="", help="A reason, kept in the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(study_id: int, why: str, yes: bool) -> None:
    """Delete a study for good.

    With it go its pictures, results and verdicts, and the uploads it came in. STUDY is the number at the end of the
    study page's address. Files of server folders stay where they are.
    """
    open_database()
    with db.read() as session:
        going = deletion.extent(session, studies.get(session, study_id))
    text = f"{going.images} images, {going.results} results, {going.verdicts} verdicts, {len(going.uploads)} uploads"
    if not yes:
        click.confirm(f"Delete study {study_id} with {text}? This cannot be undone.", abort=True)
    with db.write() as session:
        deletion.delete_study(session, study_id, "command line", why.strip()[:500])
    out.print(f"Study {study_id} is deleted, with {text}. A sweep removes its files from the store.", markup=False)


def _sweep(store: blobs.Blobs) -> int:
    if not belonging.is_ours(store):
        raise Conflict("The store carries the mark of another database; nothing is removed from it.")
    found = sum(orphans.search(store, kind, shelf, sure=True) for shelf in blobs.SHELVES for kind in orphans.NAMED)
    return found + orphans.remove(store)
