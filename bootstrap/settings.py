"""Settings: the only place that reads the environment. Every mistake is told at once, with its name and cure."""

import ipaddress
import os
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from adapters.mime_message import envelope_address
from adapters.smtp_mailer import smtp_server
from adapters.wrapping_keys import read_key
from bootstrap.ai_settings import AiSettings, shown
from domain.crash_points import CrashPoint
from domain.failing import FAILURES_UNTIL_FAILING

PREFIX = "VIGIL_"
_ENVIRONMENT = os.environ  # noqa: TID251  the one place that reads it

Names = Annotated[tuple[str, ...], NoDecode]
CrashChances = Annotated[dict[CrashPoint, float], NoDecode]


class SettingsInvalid(Exception):
    """The configuration has mistakes; the message lists all of them."""


class EndpointsUnknown(Exception):
    """Neither configured nor running: nothing says where the database, Redis or the mail server is."""


class Settings(AiSettings):
    """Everything an operator can decide. `docs/settings.md` documents each; a test proves it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file="vigil.toml", extra="forbid", frozen=True)

    data_dir: Path = Field(Path(".vigil"), description="Folder of embedded servers, caught mail and keys.")
    database_url: str | None = Field(
        None, description="postgresql:// URL of the store. Unset: an embedded PostgreSQL in the data folder."
    )
    database_owner_url: str | None = Field(
        None,
        description="The same store for the role that owns its tables: migrations, rebuilds, repairs and archiving use it."
        " Unset: VIGIL_DATABASE_URL.",
    )
    archive_dir: Path | None = Field(
        None, description="Folder of archived parts of the log. Unset: `archive` in the data folder."
    )
    redis_url: str | None = Field(
        None, description="redis://, rediss:// or unix:// URL. Unset: an embedded Redis in the data folder."
    )
    redis_namespace: str = Field("vigil", description="Prefix of all keys in Redis.", pattern=r"^[a-z0-9_-]{1,32}$")
    pool_size: int = Field(20, ge=2, le=200, description="Most connections to PostgreSQL of one process.")
    database_timeout_seconds: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="How long a request or a worker waits for one answer of PostgreSQL before it tries another connection.",
    )
    http_host: str = Field("127.0.0.1", description="Address the API listens on.")
    http_port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 lets the system choose.")
    metrics_token: str | None = Field(
        None,
        min_length=16,
        description="Bearer token that Prometheus sends to /metrics. Unset: open while the API listens on loopback only.",
    )
    public_url: str | None = Field(
        None,
        description="Address people reach Vigil at, for links in mails and for where signals are sent to. Unset: the address"
        " the API listens on, and of signals the path alone.",
    )
    inbox_port: int = Field(8025, ge=0, le=65535, description="Port of the page that shows caught mail.")
    smtp_url: str | None = Field(
        None, description="smtp:// or smtps:// URL of the mail server. Unset: mail is caught and shown in the inbox."
    )
    smtp_retry_base_seconds: float = Field(
        30, gt=0, le=3600, description="Pause after the first failed delivery; it doubles with each further one."
    )
    mail_sender: str = Field("Vigil <vigil@localhost>", description="From address of all mails.")
    registration: Literal["open", "closed"] = Field("open", description="Whether anybody may register an account.")
    fetch_allow_networks: Names = Field(
        (), description="Private networks (CIDR, comma-separated) that monitors may read; none by default."
    )
    browser_path: str | None = Field(
        None,
        description="The Chromium that shows pages of sources with `render`. Unset: the first of chromium,"
        " chromium-browser, google-chrome on the PATH. Needs the extra `browser`.",
    )
    browser_sandbox: bool = Field(
        default=True,
        description="Whether Chromium uses its own sandbox, which root has none of and which needs user namespaces.",
    )
    fetch_host_per_second: float = Field(
        5.0,
        ge=0.01,
        le=1000,
        description="Most requests a second to one host, of all evaluators together; twice as many at once after a rest."
        " Hosts written as an address in VIGIL_FETCH_ALLOW_NETWORKS are not limited.",
    )
    evidence_keep_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days that the content of a source is kept after it was last read. 0: for ever. Facts, quotes and hashes"
        " stay in any case.",
    )
    min_interval_seconds: int = Field(60, ge=1, description="Shortest interval of a monitor's schedule.")
    failing_after: int = Field(
        FAILURES_UNTIL_FAILING,
        ge=1,
        description="Looks in a row that fail before a monitor is failing and its owner told.",
    )
    monitor_limit: int = Field(100, ge=1, description="Most active monitors a person may have.")
    monitor_total: int = Field(
        10_000,
        ge=1,
        description="Most monitors a person may have, paused ones included; deleted ones are not counted.",
    )
    secret_key: str | None = Field(
        None,
        min_length=32,
        description="Secret that tokens and links are made with. Unset: made once and kept in the data folder.",
    )
    wrapping_keys: Names = Field(
        (),
        description="Keys that wrap those of people, 32 bytes in base64, comma-separated: the first wraps, all unwrap."
        " Unset: derived from the secret key, or made once and kept in the data folder.",
        repr=False,
    )
    token: str | None = Field(
        None,
        description="Access token that `vigil monitors` sends. Unset: that of the session which `vigil login` keeps.",
        repr=False,
    )
    config_dir: Path | None = Field(
        None,
        description="Folder of the sessions that `vigil login` keeps. Unset: `vigil` in XDG_CONFIG_HOME, else in ~/.config.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe logs written.")
    log_format: Literal["json", "text"] = Field("text", description="How logs are written.")
    crash_point: CrashChances = Field(
        {},
        description="For tests only: points at which a process kills itself, `name:probability`, comma-separated.",
    )
    crash_seed: int = Field(0, description="For tests only: decides at which of its chances a process kills itself.")

    @property
    def archive_folder(self) -> Path:
        """Where archived parts of the log stand."""
        return self.archive_dir or self.data_dir / "archive"

    @property
    def session_file(self) -> Path:
        """Where `vigil login` keeps its sessions (XDG Base Directory Specification)."""
        everybodys = Path(_ENVIRONMENT.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        return (self.config_dir or everybodys / "vigil") / "sessions.json"

    @property
    def mail_folder(self) -> Path:
        """Where mail is caught when no mail server is configured."""
        return self.data_dir / "mail"

    @field_validator("fetch_allow_networks", "wrapping_keys", mode="before")
    @classmethod
    def split_at_commas(cls, value: object) -> object:
        """Lists are written with commas in the environment."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("crash_point", mode="before")
    @classmethod
    def read_crash_points(cls, value: object) -> object:
        """`name:probability`, with commas between several; a name alone dies at once."""
        if not isinstance(value, str):
            return value
        parts = [part.strip().partition(":") for part in value.split(",") if part.strip()]
        return {name: chance or 1.0 for name, _, chance in parts}

    @field_validator("crash_point")
    @classmethod
    def are_probabilities(cls, value: dict[CrashPoint, float]) -> dict[CrashPoint, float]:
        """Each from 0 to 1."""
        for point, chance in value.items():
            if not 0 <= chance <= 1:
                raise ValueError(f"the probability of {point} is a number from 0 to 1")
        return value

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def is_database(cls, value: str | None) -> str | None:
        """A URL that libpq understands."""
        if value is not None:
            if not value.startswith(("postgresql://", "postgres://")):
                raise ValueError("a database URL is postgresql://user:password@host:port/database")
            try:
                conninfo_to_dict(value)
            except ProgrammingError:  # its message may hold the password
                raise ValueError("a database URL is postgresql://user:password@host:port/database") from None
        return value

    @field_validator("redis_url")
    @classmethod
    def is_redis(cls, value: str | None) -> str | None:
        """A URL of a kind redis-py understands."""
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a Redis URL is redis://host:port/0, rediss://... or unix://path")
        return value

    @field_validator("smtp_url")
    @classmethod
    def is_smtp(cls, value: str | None) -> str | None:
        """A URL the mailer understands."""
        if value is not None:
            smtp_server(value)
        return value

    @field_validator("mail_sender")
    @classmethod
    def is_sender(cls, value: str) -> str:
        """An address, with or without a name."""
        envelope_address(value)
        return value

    @field_validator("fetch_allow_networks")
    @classmethod
    def are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each is an address range."""
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("wrapping_keys")
    @classmethod
    def are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each is one."""
        for key in value:
            read_key(key)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Given values win over the environment, which wins over vigil.toml."""
        _ = (dotenv_settings, file_secret_settings)
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(**given: object) -> Settings:
    """The settings; raises `SettingsInvalid` naming every mistake and where it stands."""
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as error:
        lines = [f"  {_told(mistake)}" for mistake in error.errors()]
        raise SettingsInvalid("the configuration is not valid:\n" + "\n".join(lines)) from None
    except TOMLDecodeError as error:
        raise SettingsInvalid(f"vigil.toml cannot be read: {error}") from None


def _told(mistake: ErrorDetails) -> str:
    """A mistake in the words of an operator; never the value, which may be a secret, unless a number was expected."""
    if not mistake["loc"]:
        return mistake["msg"].removeprefix("Value error, ")
    name = shown(str(mistake["loc"][0]).lower())
    if mistake["type"] in {"int_parsing", "float_parsing"}:
        return f"{name}: {mistake['input']!r} is not a number"
    return f"{name}: {mistake['msg'].removeprefix('Value error, ')}"


def unknown_settings() -> list[str]:
    """VIGIL_ variables in the environment that this version does not know: most likely misspelt."""
    known = {shown(name) for name in Settings.model_fields}
    return sorted(name for name in _ENVIRONMENT if name.startswith(PREFIX) and name not in known)
