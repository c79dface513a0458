"""Every setting, once. This is the only module that reads the environment."""

from __future__ import annotations

import secrets
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from cxrscreen.errors import UsageError


class Settings(BaseSettings):
    """Read from `CXRSCREEN_*` variables; an empty `database_url`, `redis_url` or `store_url` means the embedded one."""

    model_config = SettingsConfigDict(env_prefix="CXRSCREEN_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("var"), description="everything that runs keeps its files here")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder")
    redis_url: str = Field("", description="broker URL; empty: the embedded Redis")
    store_url: str = Field("", description="fsspec URL of originals, derivatives and models; empty: the data folder")

    host: str = Field("127.0.0.1", description="address the dashboard listens on")
    port: int = Field(8470, ge=0, le=65535, description="port the dashboard listens on; 0 takes a free one")
    web_threads: int = Field(8, ge=1, description="threads of the dashboard")
    secret_key: str = Field("", description="signs sessions; empty: made once and kept in the data folder")
    secure_cookies: bool = Field(False, description="send the session cookie over HTTPS only")
    trusted_proxies: int = Field(0, ge=0, description="number of reverse proxies whose headers are believed")
    session_hours: int = Field(12, ge=1, description="a sign-in lasts this long")

    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="folders the dashboard may queue, separated by ':'; empty: none"
    )
    allowed_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="s3:// prefixes the dashboard may queue, separated by spaces; empty: none"
    )
    settle_seconds: float = Field(
        30.0, ge=0, description="a new file of a watched folder is left for the next time while it is younger than this"
    )
    copy_folder_files: bool = Field(
        False, description="copy the files of a queued folder into the store instead of referring to them"
    )
    keep_identifiers: bool = Field(
        False, description="keep patient, accession and study identifiers instead of their keyed hashes"
    )
    pseudonym_key: str = Field("", description="key of those hashes; empty: made once and kept in the data folder")

    max_upload_gb: float = Field(100.0, gt=0, description="largest upload, in GB")
    upload_days: float = Field(
        7.0, gt=0, description="an unfinished upload is given up after so many days without a byte"
    )
    clear_upload_days: float = Field(
        2.0,
        ge=0,
        description="an uploaded file is cleared so many days after its job, once the store has every image of it; "
        "0: never",
    )
    min_age: float = Field(
        18, ge=0, description="patients who are known to be younger, in years, get no score; 0: all do"
    )
    max_entry_mb: int = Field(512, gt=0, description="largest single file that is read, in MB")
    max_archive_entries: int = Field(5_000_000, gt=0, description="most members of one archive")
    max_archive_ratio: int = Field(200, gt=1, description="most bytes a member may unpack to for each packed one")
    max_archive_gb: float = Field(1000.0, gt=0, description="most an archive may unpack to, in GB")
    max_archive_depth: int = Field(3, ge=1, description="how deep archives may stand in archives")

    batch_size: int = Field(64, ge=1, description="images a screening worker claims at once")
    lease_seconds: int = Field(60, ge=2, description="how long a claim holds unless it is renewed")
    waiting_batches: int = Field(
        500, ge=1, description="an ingest waits while so many batches of its job wait for a screening worker"
    )
    store_reserve_gb: float = Field(
        0.5, ge=0, description="an ingest waits while the disk of a local store has less room than this, in GB"
    )
    retention_days: int = Field(
        0, ge=0, description="a study is deleted so many days after its last picture or verdict; 0: never"
    )
    orphan_hours: float = Field(
        24.0,
        ge=0,
        description="what lies in the store for so many hours without a row that names it is removed; 0: never",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        description="threads or processes that read pixels in each worker; 0: as many as there are cores, up to 16, "
        "of an ingest 8",
    )
    decoders: Literal["auto", "threads", "processes"] = Field(
        "auto", description="who reads pixels beside the network: auto (measured), threads or processes"
    )
    ingest_processes: int = Field(2, ge=1, description="processes of the ingest worker")
    keep_features: bool = Field(
        True, description="keep what the network saw of each image, 3 KB, so that a new head reads no pixels"
    )
    torch_threads: int = Field(0, ge=0, description="threads of the network while it screens; 0: as many as serve best")
    engine: Literal["auto", "torch", "openvino", "card", "half"] = Field(
        "auto", description="what runs the network: auto (measured), torch, openvino, card or half"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    batches_per_process: int = Field(
        2000, ge=1, description="a screening worker leaves after this many batches and is started again"
    )
    sweep_seconds: float = Field(10.0, gt=0, description="how often forgotten work is looked for")
    nightly_at: str = Field(
        "22:00", pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", description="time of day of the schedule made at first start"
    )
    timezone: str = Field("UTC", description="time zone of that schedule, an IANA name")
    default_threshold: float = Field(0.5, ge=0, le=1, description="operating point of a model that brings none")

    second_readings: float = Field(
        0.0, ge=0, le=1, description="share of the reading list that two people read, blind to one another"
    )
    sample_share: float = Field(
        0.02, ge=0, le=1, description="share of the unflagged studies that stand blind in the reading list"
    )
    masked_share: float = Field(
        0.1, ge=0, le=1, description="share of the flagged studies that are read without the model's answer, like those"
    )

    deadly_sha256: str = Field("", description="test hook: a worker ends at once when it meets this image")

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part).expanduser() for part in value.split(":") if part)
        return value

    @field_validator("allowed_prefixes", mode="before")
    @classmethod
    def _split_prefixes(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        try:
            if value:
                make_url(value)
        except ArgumentError:
            raise ValueError("is no SQLAlchemy URL, such as postgresql://NAME:PASSWORD@HOST/DATABASE") from None
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_broker(cls, value: str) -> str:
        good = not value or value.startswith(("redis://", "rediss://", "unix://"))
        try:
            _ = urlsplit(value).port
        except ValueError:
            good = False
        if not good:
            raise ValueError("is no URL of a Redis, such as redis://:PASSWORD@HOST:6379/0")
        return value

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{(self.data_dir / 'cxrscreen.db').absolute()}"

    @property
    def broker(self) -> str:
        """The broker's URL; an embedded stack leaves its own in the run folder. Empty where none ever ran."""
        left = self.run_dir / "redis.url"
        return self.redis_url or (left.read_text().strip() if left.exists() else "")

    @property
    def store(self) -> str:
        return self.store_url or f"file://{(self.data_dir / 'store').absolute()}"

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def upload_dir(self) -> Path:
        """Uploads grow here until they are whole; on the same disk as the data."""
        return self.data_dir / "uploads"

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    def session_secret(self) -> str:
        return self.secret_key or self._kept_secret("session.key")

    def pseudonym_secret(self) -> str:
        return self.pseudonym_key or self._kept_secret("pseudonym.key")

    def _kept_secret(self, name: str) -> str:
        return _kept_secret(self.data_dir, name)


@lru_cache(maxsize=8)
def _kept_secret(data_dir: Path, name: str) -> str:
    """Make a secret once. Two processes may start together: the first link wins, both read the same file. Read once a
    process: lists of studies ask for it by the row."""
    path = data_dir / "secrets" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process; tests and the command line call `cache_clear` after they change the environment.

    Raises UsageError with the names of what cannot be; the values, which may be passwords, are not repeated.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"CXRSCREEN_{str(one['loc'][0]).upper()}: {_plainly(one['msg'])}" for one in error.errors()]
        raise UsageError("; ".join(wrong) + ". docs/settings.md lists the settings.") from None


def _plainly(message: str) -> str:
    return message.removeprefix("Value error, ")
