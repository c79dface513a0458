"""Model versions: a bundle in the store and its row. Reads the bundle's JSON record; knows nothing of torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Select, SQLColumnExpression, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit
from cxrscreen.blobs import Blobs
from cxrscreen.errors import BundleDamaged, Conflict, NoModel, NotFound
from cxrscreen.settings import get_settings
from cxrscreen.tables import Activation, ModelState, ModelVersion, OperatingPoint, User, now

FORMATS = ("cxrscreen-bundle/2", "cxrscreen-bundle/3")
RECORD = "bundle.json"
_verified: set[Path] = set()  # cached bundles that this process has held against their hashes
NEEDED = ("name", "classes", "subclasses", "positive", "preprocessing", "weights")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a bundle folder, with its weights' hash held against the file.

    Raises BundleDamaged with one line that says what is wrong.
    """
    path = folder / RECORD
    if not path.is_file():
        raise BundleDamaged(f"{folder} is no bundle: it has no {RECORD}.")
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleDamaged(f"{path} is not JSON: {error}.") from None
    if not isinstance(record, dict) or record.get("format") not in FORMATS:
        found = record.get("format") if isinstance(record, dict) else None
        raise BundleDamaged(f"{folder} has another format: {found!r}, not {FORMATS[-1]!r}.")
    missing = [key for key in NEEDED if key not in record]
    if missing:
        raise BundleDamaged(f"{path} lacks {', '.join(missing)}.")
    if not isinstance(record["weights"], dict) or not {"file", "sha256"} <= record["weights"].keys():
        raise BundleDamaged(f"{path} does not say which file holds its weights.")
    weights = folder / Path(str(record["weights"]["file"])).name
    if not weights.is_file():
        raise BundleDamaged(f"{folder} has no {weights.name}.")
    if _hash_file(weights) != record["weights"]["sha256"]:
        raise BundleDamaged(f"{weights} is not the file its record names (SHA-256 differs).")
    return record


def register(
    session: Session, store: Blobs, folder: Path, *, name: str | None = None, actor: User | str = "command line"
) -> ModelVersion:
    """Put a bundle into the store and its row into the registry; the same bundle again is the same row."""
    record = read_record(folder)
    raw = (folder / RECORD).read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    known = session.scalar(select(ModelVersion).where(ModelVersion.sha256 == sha256))
    if known:
        return known
    wanted = name or str(record["name"])
    if session.scalar(select(ModelVersion).where(ModelVersion.name == wanted)):
        if name:
            raise Conflict(f"There is already a model version named {name!r}; choose another with --name.")
        wanted = f"{wanted}-{sha256[:8]}"
    store.put("models", raw)
    store.put("models", (folder / Path(str(record["weights"]["file"])).name).read_bytes())
    version = ModelVersion(
        name=wanted, sha256=sha256, state=ModelState.CANDIDATE, phantom=bool(record.get("phantom")), record=record
    )
    session.add(version)
    session.flush()
    threshold = record.get("threshold")
    session.add(
        OperatingPoint(
            model_version_id=version.id,
            threshold=float(threshold if threshold is not None else get_settings().default_threshold),
            note="brought by the bundle" if threshold is not None else "the default of the settings",
        )
    )
    audit.record(session, actor, "model.register", f"model {version.id}", name=wanted, sha256=sha256)
    return version


def verify(store: Blobs, version: ModelVersion) -> None:
    """Hold the store's copy against the hashes that were registered; raises BundleDamaged, or OSError where the store
    does not answer."""
    try:
        if hashlib.sha256(store.get("models", version.sha256)).hexdigest() != version.sha256:
            raise BundleDamaged(f"The record of model {version.name!r} in the store is damaged.")
        weights = str(version.record["weights"]["sha256"])
        if hashlib.sha256(store.get("models", weights)).hexdigest() != weights:
            raise BundleDamaged(f"The weights of model {version.name!r} in the store are damaged.")
    except FileNotFoundError:
        raise BundleDamaged(f"The store has lost files of model {version.name!r}.") from None


def fetch(store: Blobs, version: ModelVersion) -> Path:
    """A local folder with the bundle's files, cached by hash and verified once a process."""
    folder = get_settings().cache_dir / "models" / version.sha256
    if folder.exists() and folder not in _verified:
        try:
            read_record(folder)
        except BundleDamaged:
            shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        try:
            raw = store.get("models", version.sha256)
            record = json.loads(raw)
            (fresh / RECORD).write_bytes(raw)
            (fresh / Path(record["weights"]["file"]).name).write_bytes(store.get("models", record["weights"]["sha256"]))
            read_record(fresh)
            fresh.replace(folder)
        except (OSError, ValueError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if folder.exists():  # another process was first
                return folder
            raise BundleDamaged(f"The store does not give model {version.name!r}: {error}") from error
        except BundleDamaged:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    _verified.add(folder)
    return folder


def activate(
    session: Session, version: ModelVersion, actor: User | str, sign_off: str = "", *, rolled_back: bool = False
) -> ModelVersion | None:
    """Make a version the one that people see; answers the one it replaces."""
    _hold(session)
    before = active(session)
    if before and before.id == version.id:
        return before
    session.execute(
        update(ModelVersion)
        .where(ModelVersion.state == ModelState.ACTIVE)
        .values(state=ModelState.RETIRED)
        .execution_options(synchronize_session="fetch")
    )
    version.state, version.activated_at = ModelState.ACTIVE, now()
    session.add(
        Activation(
            model_version_id=version.id,
            before_id=before.id if before else None,
            actor=actor if isinstance(actor, str) else actor.name,
            sign_off=sign_off,
            rolled_back=rolled_back,
        )
    )
    audit.record(
        session,
        actor,
        "model.rollback" if rolled_back else "model.activate",
        f"model {version.id}",
        name=version.name,
        before=before and before.name,
        sign_off=sign_off,
    )
    return before


def previous(session: Session) -> ModelVersion | None:
    """The version that the active one replaced when somebody signed for it: where a roll-back leads."""
    used = active(session)
    if used is None:
        return None
    signed = session.scalar(
        select(Activation)
        .where(Activation.model_version_id == used.id, Activation.rolled_back.is_(False))
        .order_by(Activation.id.desc())
        .limit(1)
    )
    return session.get(ModelVersion, signed.before_id) if signed and signed.before_id else None


def _hold(session: Session) -> None:
    """Every version as it is now, held until the commit: of two who change what people see the second waits, and then
    sees what the first did. Not their keys, which every result that is written shares."""
    query = select(ModelVersion).order_by(ModelVersion.id).with_for_update(key_share=True)
    session.scalars(query.execution_options(populate_existing=True)).all()


def roll_back(session: Session, actor: User | str, seen: int | None = None) -> ModelVersion:
    """Give people back the version that they saw before the last activation; raises Conflict where there was none.

    `seen` is the active version that the person had before them: where it is another one by now this raises Conflict.
    """
    _hold(session)
    used = active(session)
    if seen is not None and (used is None or used.id != seen):
        raise Conflict("Somebody else changed the active model while you looked at it. Look at the models again first.")
    before = previous(session)
    if before is None:
        raise Conflict("There is no version to roll back to.")
    activate(session, before, actor, "rolled back", rolled_back=True)
    return before


def activations(session: Session, limit: int = 20) -> list[tuple[Activation, ModelVersion]]:
    """Who made which version the active one, and with which words; the newest first."""
    rows = session.execute(
        select(Activation, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Activation.model_version_id)
        .order_by(Activation.id.desc())
        .limit(limit)
    )
    return [(row, version) for row, version in rows]


def newest_candidate(session: Session) -> ModelVersion | None:
    return session.scalar(
        select(ModelVersion).where(ModelVersion.state == ModelState.CANDIDATE).order_by(ModelVersion.id.desc()).limit(1)
    )


def active(session: Session) -> ModelVersion | None:
    return session.scalar(select(ModelVersion).where(ModelVersion.state == ModelState.ACTIVE))


def in_use(session: Session) -> tuple[int, str, bool, float] | None:
    """Number, name, whether it learned from phantoms, and threshold of the active version: what every page tells."""
    newest = _newest_threshold(ModelVersion.id).scalar_subquery()
    columns = (ModelVersion.id, ModelVersion.name, ModelVersion.phantom, newest)
    found = session.execute(select(*columns).where(ModelVersion.state == ModelState.ACTIVE)).first()
    if found is None:
        return None
    number, name, phantom, threshold = found
    return number, name, phantom, get_settings().default_threshold if threshold is None else threshold


def need_active(session: Session) -> ModelVersion:
    version = active(session)
    if version is None:
        raise NoModel("There is no active model: register one with `cxrscreen models register FOLDER` and activate it.")
    return version


def get(session: Session, name: str) -> ModelVersion:
    version = session.scalar(select(ModelVersion).where(ModelVersion.name == name))
    if version is None and name.isdigit():
        version = session.get(ModelVersion, int(name))
    if version is None:
        raise NotFound(f"There is no model version {name!r}; `cxrscreen models list` shows what there is.")
    return version


def every(session: Session) -> list[ModelVersion]:
    return list(session.scalars(select(ModelVersion).order_by(ModelVersion.id.desc())))


def threshold(session: Session, version_id: int) -> float:
    """The operating point that counts: the newest row."""
    point = session.scalar(_newest_threshold(version_id))
    return get_settings().default_threshold if point is None else point


def thresholds(session: Session, version_ids: Collection[int]) -> dict[int, float]:
    """The same of several versions."""
    newest = _newest_threshold(ModelVersion.id).scalar_subquery()
    rows = session.execute(select(ModelVersion.id, newest).where(ModelVersion.id.in_(version_ids)))
    usual = get_settings().default_threshold
    return {number: usual if point is None else point for number, point in rows}


def _newest_threshold(version_id: int | SQLColumnExpression[int]) -> Select[float]:
    of_version = select(OperatingPoint.threshold).where(OperatingPoint.model_version_id == version_id)
    return of_version.order_by(OperatingPoint.id.desc()).limit(1)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
