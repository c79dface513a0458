"""What takes the room is told by what lies there."""

from __future__ import annotations

import hashlib

from dashboard_fixtures import Site

from cxrscreen import blobs, db, usage
from cxrscreen.settings import Settings, get_settings


def told(seconds: float) -> dict[str, usage.Part]:
    with db.read() as session:
        return {part.what: part for part in usage.parts(session, blobs.store(), seconds)}


def test_every_part_is_weighed(database: Settings) -> None:
    sizes = {"originals": 700, "derivatives": 30, "uploads": 5000, "models": 11}
    for kind, size in sizes.items():
        for number in range(3):
            blobs.store().put(kind, bytes([number]) * size)
    coming = get_settings().upload_dir / "resumable" / "1" / "part"
    coming.parent.mkdir(parents=True)
    coming.write_bytes(b"x" * 123)
    found = told(60)
    assert {kind: found[kind].size for kind in sizes} == {kind: 3 * size for kind, size in sizes.items()}
    assert found["unfinished"].size == 123 and found["database"].size > 10_000
    assert not any(part.about for part in found.values())


def test_some_shelves_tell_of_a_store_that_is_too_large_to_be_weighed(database: Settings) -> None:
    store = blobs.store()
    on_each: dict[str, bytes] = {}
    number = 0
    while len(on_each) < len(blobs.SHELVES):
        data = number.to_bytes(100)
        on_each.setdefault(hashlib.sha256(data).hexdigest()[:2], data)
        number += 1
    for data in on_each.values():
        store.put("originals", data, durable=False)
    part = told(-1)["originals"]
    assert part.about and part.size == 100 * len(blobs.SHELVES), "one shelf was looked at, and they are alike"


def test_the_system_page_tells_it(either_site: Site) -> None:
    blobs.store().put("originals", b"x" * 2000)
    page = either_site.browser("admin").page("/system")
    assert "What takes the room" in page and "2 kB" in page
