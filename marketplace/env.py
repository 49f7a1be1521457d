"""The environment, typed and validated at start: every mistake is named at once, no secret is printed."""

from __future__ import annotations

import datetime as dt
import re
import sys
from decimal import Decimal
from email.utils import parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.fernet import Fernet
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Mode(StrEnum):
    DEMO = "demo"
    TEST = "test"
    DEV = "dev"
    PRODUCTION = "production"


_RATE = re.compile(r"([A-Z]{2})=([0-9]{1,2})(?:\.([0-9]{1,2}))?", re.ASCII)


def rates_from(written: str) -> dict[str, int]:
    """Return `DE=19,CH=8.1` as basis points by country. Raises ValueError."""
    table = {}
    for part in filter(None, written.replace(" ", "").split(",")):
        match = _RATE.fullmatch(part)
        if match is None:
            raise ValueError("rates look like DE=19,CH=8.1")
        table[match[1]] = int(match[2]) * 100 + int((match[3] or "0").ljust(2, "0"))
    return table


class Environment(BaseSettings):
    """Every setting that differs between machines. Names are upper case with the prefix DC_."""

    model_config = SettingsConfigDict(env_prefix="DC_", env_file=".env", extra="ignore")

    mode: Mode
    secret_key: SecretStr = Field(min_length=32)
    field_keys: Annotated[list[SecretStr], NoDecode] = Field(min_length=1)
    database_url: SecretStr
    redis_url: SecretStr

    public_url: str = "http://127.0.0.1:8000"
    # What agents sign their sessions for: keep it when the address changes. Empty: the address.
    deployment: str = Field("", max_length=200)
    allowed_hosts: Annotated[list[str], NoDecode] = ["localhost", "127.0.0.1"]
    # How many proxies stand in front of us and add to X-Forwarded-For; 0: that header is not believed.
    trusted_proxies: int = Field(0, ge=0, le=10)
    static_bundle: Path = Path("static/build")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    gateway_url: str = "ws://127.0.0.1:8001/ws/agent"
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(8001, ge=1, le=65535)
    gate_host: str = "127.0.0.1"
    gate_port: int = Field(7001, ge=1, le=65535)

    tunnel_host: str = "127.0.0.1"
    tunnel_server_host: str = "127.0.0.1"
    tunnel_bind_port: int = Field(7000, ge=1, le=65535)
    tunnel_ports: str = "20000-32767"
    tunnel_master_key: SecretStr = Field(min_length=32)
    tunnel_ca_file: Path | None = None
    tunnel_server_name: str = "frps.internal"
    frps_token: SecretStr = Field(min_length=16)
    frps_admin_url: str = "http://127.0.0.1:7500"
    frps_admin_user: str = "dcompute"
    frps_admin_password: SecretStr = SecretStr("")
    # What the platform gives back at most for its own outages: of an hour of each GPU, or of a machine without.
    tunnel_credit_most_hourly: Decimal = Field(Decimal(10), ge=0, le=1000, decimal_places=2)

    # Telemetry: a file of this machine, unless an InfluxDB is named.
    telemetry_file: Path = Path("telemetry.sqlite3")
    influxdb_url: str = ""
    influxdb_token: SecretStr = SecretStr("")
    influxdb_org: str = "dcompute"
    influxdb_bucket: str = "telemetry"

    # Registries that templates may name and pre-flight may ask though not on the open internet, or in plain HTTP.
    trusted_registries: Annotated[list[str], NoDecode] = []
    # What one person may store in templates, all their versions and archived ones together.
    template_mib: int = Field(64, ge=1, le=100_000)
    # Mail: printed, written into a folder, or given to an SMTP server, which production needs.
    mail: Literal["console", "file", "smtp"] = "console"
    mail_folder: Path = Path("mail")
    mail_from: str = "DistributedCompute <noreply@localhost>"
    mail_attempts: int = Field(6, ge=1, le=20)
    mail_seconds: float = Field(5, gt=0)
    smtp_host: str = ""
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    notice_days: int = Field(180, ge=1)

    # Who takes people's money; `fake` only pretends, and production refuses it.
    payments: Literal["fake", "stripe"] = "fake"
    stripe_secret_key: SecretStr = SecretStr("")
    stripe_webhook_secret: SecretStr = SecretStr("")
    stripe_api_base: str = ""
    # Who pays hosts; `bank` is a person who writes the reference down.
    payouts: Literal["fake", "bank", "stripe"] = "fake"
    payout_minimum: int = Field(20, ge=1)
    currency: str = Field("USD", pattern="^[A-Z]{3}$")
    # Who writes the invoices; lines of the address with | between. Production insists on its own.
    seller_name: str = ""
    seller_address: str = ""
    seller_country: str = Field("", pattern="^([A-Z]{2})?$")
    seller_vat_id: str = ""
    # The value added tax that is in the prices, in percent by the buyer's country: DE=19,NO=25.
    vat_rates: str = ""
    fee_bps: int = Field(1000, ge=0, le=10_000)
    # Later fees, each from midnight UTC of its day on: (epoch second, basis points).
    fee_schedule: Annotated[list[tuple[int, int]], NoDecode] = []
    # Before a wallet runs out its owner is warned this many seconds ahead.
    low_balance_seconds: Annotated[list[int], NoDecode] = [86_400, 21_600, 3600]
    # How old earnings are before they can be paid out: paid with money from a card, and with other money.
    maturity_card_seconds: int = Field(7 * 86_400, ge=0)
    maturity_other_seconds: int = Field(86_400, ge=0)

    heartbeat_seconds: float = Field(5, gt=0)
    suspect_beats: int = Field(3, ge=1)
    offline_beats: int = Field(6, ge=2)
    nonce_seconds: float = Field(30, gt=0)
    clone_window_seconds: float = Field(60, ge=0)
    port_quarantine_seconds: float = Field(120, ge=0)
    settle_horizon_seconds: int = Field(60, ge=0)
    quote_seconds: int = Field(120, ge=1)
    stopped_port_days: int = Field(7, ge=1)
    silent_seconds: float = Field(180, gt=0)
    failed_starts_per_hour: int = Field(5, ge=1)
    unpaid_start_seconds_per_day: int = Field(7200, ge=60)
    price_lock_days: int = Field(30, ge=1, le=365)
    price_lock_max_days: int = Field(90, ge=1, le=365)
    price_notice_days: int = Field(3, ge=1, le=30)
    probe_seconds: float = Field(30, gt=0)
    reserve_deadline_seconds: float = Field(120, gt=0)
    pull_deadline_seconds: float = Field(1200, gt=0)
    start_deadline_seconds: float = Field(120, gt=0)
    stop_deadline_seconds: float = Field(60, gt=0)
    search_seconds: float = Field(0.5, ge=0)
    outbox_sweep_seconds: float = Field(1, gt=0)
    reconcile_seconds: float = Field(5, gt=0)
    log_days: int = Field(30, ge=1)
    roll_up_seconds: float = Field(3600, gt=0)
    mature_seconds: float = Field(3600, gt=0)

    @field_validator("field_keys", "allowed_hosts", "trusted_registries", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("fee_schedule", mode="before")
    @classmethod
    def _read_fees(cls, value: object) -> object:
        return read_fees(value) if isinstance(value, str) else value

    @field_validator("low_balance_seconds", mode="before")
    @classmethod
    def _read_warnings(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isdigit() and 0 < int(part) <= 30 * 86_400 for part in parts):
            raise ValueError("seconds with commas between look like 86400,21600,3600")
        return [int(part) for part in parts]

    @field_validator("field_keys")
    @classmethod
    def _are_fernet_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            try:
                Fernet(key.get_secret_value())
            except ValueError as error:
                raise ValueError("each key is 32 bytes in URL-safe base64 (Fernet)") from error
        return keys

    @field_validator("trusted_registries")
    @classmethod
    def _are_addresses_of_registries(cls, urls: list[str]) -> list[str]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
                raise ValueError("each looks like https://registry.example.org:5000")
        return urls

    @field_validator("tunnel_ports")
    @classmethod
    def _is_a_port_range(cls, value: str) -> str:
        first, dash, last = value.partition("-")
        if not (
            dash and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535
        ):
            raise ValueError("a range looks like 20000-32767")
        return value

    @field_validator("vat_rates")
    @classmethod
    def _is_a_table_of_rates(cls, value: str) -> str:
        rates_from(value)
        return value

    @model_validator(mode="after")
    def _agents_can_sign_for_us(self) -> Self:
        if not self.deployment:
            self.deployment = self.public_url
        # Control characters separate the parts of what is signed.
        if not self.deployment.isprintable() or len(self.deployment) > 200:
            raise ValueError("DC_DEPLOYMENT is a name or an address of at most 200 characters")
        return self

    @model_validator(mode="after")
    def _influxdb_is_whole(self) -> Self:
        if not self.influxdb_url:
            return self
        if not self.influxdb_url.startswith(("http://", "https://")):
            raise ValueError("DC_INFLUXDB_URL looks like http://127.0.0.1:8086")
        if not self.influxdb_token.get_secret_value():
            raise ValueError("DC_INFLUXDB_TOKEN is needed with DC_INFLUXDB_URL")
        if not (self.influxdb_org and self.influxdb_bucket):
            raise ValueError("DC_INFLUXDB_ORG and DC_INFLUXDB_BUCKET must not be empty")
        return self

    @field_validator("mail_from")
    @classmethod
    def _is_a_sender(cls, value: str) -> str:
        _, address = parseaddr(value)
        host = address.partition("@")[2]
        if not value.isprintable() or not host or " " in address:
            raise ValueError("a sender looks like DistributedCompute <noreply@example.org>")
        return value

    @model_validator(mode="after")
    def _smtp_is_whole(self) -> Self:
        if self.mail == "smtp" and not self.smtp_host:
            raise ValueError("DC_SMTP_HOST is needed with DC_MAIL=smtp")
        if bool(self.smtp_user) != bool(self.smtp_password.get_secret_value()):
            raise ValueError("DC_SMTP_USER and DC_SMTP_PASSWORD belong together")
        return self

    @model_validator(mode="after")
    def _stripe_has_its_keys(self) -> Self:
        if self.payouts == "stripe" and not self.stripe_secret_key.get_secret_value():
            raise ValueError("DC_STRIPE_SECRET_KEY is needed with DC_PAYOUTS=stripe")
        keys = (self.stripe_secret_key, self.stripe_webhook_secret)
        if self.payments == "stripe" and not all(key.get_secret_value() for key in keys):
            raise ValueError(
                "DC_STRIPE_SECRET_KEY and DC_STRIPE_WEBHOOK_SECRET are needed with DC_PAYMENTS=stripe"
            )
        return self

    @model_validator(mode="after")
    def _production_is_safe(self) -> Self:
        if self.mode is not Mode.PRODUCTION:
            return self
        if not self.public_url.startswith("https://"):
            raise ValueError("DC_PUBLIC_URL must be https:// in production")
        if not self.gateway_url.startswith("wss://"):
            raise ValueError("DC_GATEWAY_URL must be wss:// in production")
        if self.payments == "fake":
            raise ValueError("DC_PAYMENTS=fake gives money away; production needs stripe")
        if self.mail != "smtp":
            raise ValueError("DC_MAIL must be smtp in production, or nobody gets any mail")
        if self.payouts == "fake":
            raise ValueError("DC_PAYOUTS=fake pays nobody; production needs bank or stripe")
        if "*" in self.allowed_hosts:
            raise ValueError("DC_ALLOWED_HOSTS must name the hosts in production")
        return self

    @property
    def vat_table(self) -> dict[str, int]:
        """The tax that is in the prices, in basis points by the buyer's country."""
        return rates_from(self.vat_rates)

    @property
    def port_range(self) -> tuple[int, int]:
        """The first and last public port, both included."""
        first, _, last = self.tunnel_ports.partition("-")
        return int(first), int(last)

    @property
    def offline_seconds(self) -> float:
        """How long a node may be silent before it counts as lost."""
        return self.heartbeat_seconds * self.offline_beats

    @property
    def suspect_seconds(self) -> float:
        """How long a node may be silent before it is suspected."""
        return self.heartbeat_seconds * self.suspect_beats

    def database(self) -> dict[str, str]:
        """Return Django's database fields of the URL `postgresql://user:password@host:port/name?host=/socket`."""
        url = urlsplit(self.database_url.get_secret_value())
        query = parse_qs(url.query)
        return {
            "NAME": url.path.lstrip("/"),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": query.get("host", [url.hostname or ""])[0],
            "PORT": query.get("port", [str(url.port or "")])[0],
        }


def read_fees(text: str) -> list[tuple[int, int]]:
    """Return the schedule `2027-01-01:800,2028-01-01:1200` as (epoch second, basis points), oldest first."""
    found: list[tuple[int, int]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        day, _, bps = part.partition(":")
        try:
            since = int(dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
        except ValueError as error:
            raise ValueError(f"{part} is not like 2027-01-01:800") from error
        if not (bps.isascii() and bps.isdigit() and int(bps) <= 10_000):
            raise ValueError(f"{part}: a fee is 0 to 10000 hundredths of a percent")
        if found and since <= found[-1][0]:
            raise ValueError(f"{part}: each day comes after the one before")
        found.append((since, int(bps)))
    return found


def load() -> Environment:
    """Return the environment, or end the process with every mistake in plain words."""
    try:
        return Environment()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as error:
        lines = [
            f"  DC_{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        sys.exit("The environment is not usable (see .env.example):\n" + "\n".join(lines))
