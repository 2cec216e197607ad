"""The one class that reads the environment."""

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain import address, rate
from app.domain.rate import Rate

SECRET_LENGTH = 32

_REDIS = r"rediss?://([^\s/@]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s/@:\[\]]+)(:[0-9]{1,5})?(/[0-9]*)?"
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]{3,30}:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")


class SettingsError(ValueError):
    """The settings are not fit for production; the message names each."""


class Settings(BaseSettings):
    """Everything that an installation can set, as NEWSLETTER_<NAME> or in `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="NEWSLETTER_", env_file=".env", extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Path("var")
    database_url: SecretStr | None = None
    database_pooler: Literal["none", "transaction"] = "none"
    database_listen_url: SecretStr | None = None
    mail_url: SecretStr | None = None
    mail_connections: int = 10
    mail_rate: Annotated[tuple[Rate, ...], NoDecode] = ()
    mail_domain_rates: Annotated[dict[str, Rate], NoDecode] = {}
    bounce_address: str | None = None
    feedback_ses_topics: Annotated[tuple[str, ...], NoDecode] = ()
    feedback_mailgun_key: SecretStr | None = None
    dkim_domain: str | None = None
    dkim_selector: str | None = None
    dkim_key: Path | None = None
    rate_limit_url: SecretStr | None = None
    client_rate: Annotated[tuple[Rate, ...], NoDecode] = (Rate(20, 60), Rate(200, 3_600))
    public_rate: Annotated[tuple[Rate, ...], NoDecode] = (Rate(100, 1),)
    base_url: str = ""
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    hash_key: SecretStr = SecretStr("")
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    consent_ip: Literal["full", "truncated", "none"] = "full"
    confirm_ttl: timedelta = timedelta(days=7)
    unconfirmed_retention: timedelta = timedelta(days=30)
    confirm_cooldown: timedelta = timedelta(minutes=15)
    confirm_rate: Annotated[Rate | None, NoDecode] = Rate(50_000, 3_600)
    log_format: Literal["console", "json"] = "console"

    @field_validator("secret_keys", "feedback_ses_topics", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("feedback_ses_topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_TOPIC.fullmatch, value)):
            raise ValueError("write the ARN of each topic: arn:aws:sns:eu-west-1:123456789012:name")
        return value

    @field_validator("mail_rate", "client_rate", "public_rate", mode="before")
    @classmethod
    def _rates(cls, value: object) -> object:
        return tuple(map(rate.parse, _parts(value))) if isinstance(value, str) else value

    @field_validator("confirm_rate", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        return (rate.parse(value) if value else None) if isinstance(value, str) else value

    @field_validator("mail_domain_rates", mode="before")
    @classmethod
    def _domain_rates(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in _parts(value)]
        return {_domain(domain.strip()): rate.parse(limit) for domain, _, limit in pairs}

    @field_validator("rate_limit_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value() if value else ""
        if url and not re.fullmatch(_REDIS, url):
            raise ValueError("write it as redis://host:6379/0 or rediss://:password@host:6379/0")
        return value if url else None

    @field_validator("bounce_address", "dkim_domain", "dkim_selector", "dkim_key", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None

    @field_validator("bounce_address")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return value if value is None else address.parse(value).email

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = _parts(value)
        networks = tuple(ip_network(part, strict=False) for part in parts if part != "*")
        if "*" in parts or any(network.prefixlen == 0 for network in networks):
            raise ValueError("name the proxies; with * anybody could choose the address on record")
        return networks

    @field_validator("confirm_ttl", "unconfirmed_retention", "confirm_cooldown", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("base_url")
    @classmethod
    def _bare(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not timedelta() < self.confirm_ttl <= self.unconfirmed_retention:
            raise ValueError("CONFIRM_TTL must be positive and at most UNCONFIRMED_RETENTION")
        if self.confirm_cooldown < timedelta():
            raise ValueError("CONFIRM_COOLDOWN cannot be negative")
        if not 1 <= self.mail_connections <= 100:  # noqa: PLR2004
            raise ValueError("MAIL_CONNECTIONS must be between 1 and 100")
        return self

    @property
    def sqlalchemy_url(self) -> str:
        """The database: SQLite in DATA_DIR unless one is named."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'newsletter.db'}"

    @property
    def listen_url(self) -> str | None:
        """Where to LISTEN; nowhere if only a transaction pooler is known."""
        if self.database_listen_url is not None:
            return self.database_listen_url.get_secret_value()
        return None if self.database_pooler == "transaction" else self.sqlalchemy_url

    @property
    def transport_url(self) -> str:
        """How mail leaves: a Maildir in DATA_DIR unless a server is named."""
        if self.mail_url is not None:
            return self.mail_url.get_secret_value()
        return f"maildir://{self.data_dir.resolve() / 'mail'}"

    @classmethod
    def without_file(cls, **values: Any) -> Self:  # noqa: ANN401 - any setting
        """Return settings that ignore `.env`; named values win over the environment."""
        return cls(_env_file=None, **values)  # type: ignore[call-arg] # pydantic-settings takes it

    def require_production(self) -> None:
        """Raise SettingsError that names every setting that `serve` and `work` lack."""
        wrong = [
            *_secret_faults("SECRET_KEYS", self.secret_keys),
            *_secret_faults("HASH_KEY", (self.hash_key,)),
            *_url_faults(self.base_url),
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _domain(value: str) -> str:
    """Return a domain as it stands in addresses that are kept."""
    try:
        return address.parse(f"reader@{value}").email.rpartition("@")[2].lower()
    except ValueError as error:
        raise ValueError("write it as gmail.com=20/s,example.org=500/h") from error


def _secret_faults(name: str, secrets: tuple[SecretStr, ...]) -> list[str]:
    values = [secret.get_secret_value() for secret in secrets]
    if not any(values):
        return [
            f"NEWSLETTER_{name} is missing: set it to {SECRET_LENGTH} or more random characters"
        ]
    weak = any(len(value) < SECRET_LENGTH or len(set(value)) < 8 for value in values)  # noqa: PLR2004
    return (
        [f"NEWSLETTER_{name} is weak: use {SECRET_LENGTH} or more random characters"]
        if weak
        else []
    )


def _url_faults(base_url: str) -> list[str]:
    try:
        parts = urlsplit(base_url)
        is_alone = base_url == f"{parts.scheme}://{parts.netloc}" and parts.port != 0
    except ValueError:
        return ["NEWSLETTER_BASE_URL is not a URL"]
    if not parts.hostname:
        return ["NEWSLETTER_BASE_URL is missing: set it to the https address of this service"]
    if not is_alone or not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", parts.netloc):
        return ["NEWSLETTER_BASE_URL must be https://name alone, without user, path or query"]
    is_loopback = parts.hostname in {"localhost", "127.0.0.1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback):
        return ["NEWSLETTER_BASE_URL must start with https://"]
    return []
