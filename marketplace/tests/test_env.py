"""Every mistake in the environment is named at once, in plain words, and no secret is printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from marketplace import env

SECRET = "canary-" + "x" * 40


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set the environment of a small machine, and nothing of the developer's own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DC_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "MODE": "test",
        "SECRET_KEY": SECRET,
        "FIELD_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": "postgresql://dc%40x:p%2Fw@db.internal:5433/market",
        "REDIS_URL": "redis://localhost/0",
        "TUNNEL_MASTER_KEY": SECRET,
        "FRPS_TOKEN": SECRET,
    }.items():
        monkeypatch.setenv(f"DC_{name}", value)
    return monkeypatch


def refused() -> str:
    with pytest.raises(SystemExit) as ended:
        env.load()
    told = str(ended.value)
    assert told.startswith("The environment is not usable (see .env.example):\n")
    assert SECRET not in told
    return told


def test_a_good_environment_has_its_defaults_and_its_derived_values(
    good: pytest.MonkeyPatch,
) -> None:
    good.setenv("DC_ALLOWED_HOSTS", "a.example,b.example,")
    good.setenv("DC_TUNNEL_PORTS", "30000-30009")
    loaded = env.load()
    assert loaded.allowed_hosts == ["a.example", "b.example"]
    assert loaded.port_range == (30_000, 30_009)
    assert (loaded.suspect_seconds, loaded.offline_seconds) == (15, 30)
    assert loaded.database() == {
        "NAME": "market",
        "USER": "dc@x",
        "PASSWORD": "p/w",
        "HOST": "db.internal",
        "PORT": "5433",
    }
    assert SECRET not in repr(loaded)


def test_a_database_behind_a_socket_is_found_by_its_folder(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_DATABASE_URL", "postgresql://dc@/market?host=/run/pg&port=6000")
    found = env.load().database()
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("/run/pg", "6000", "market")


def test_every_mistake_is_named_at_once(good: pytest.MonkeyPatch) -> None:
    good.delenv("DC_REDIS_URL")
    good.setenv("DC_GATE_PORT", "70000")
    good.setenv("DC_SECRET_KEY", "short")
    told = refused()
    for name in ("DC_REDIS_URL: Field required", "DC_GATE_PORT: ", "DC_SECRET_KEY: "):
        assert name in told


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FIELD_KEYS", "not-a-key", "each key is 32 bytes in URL-safe base64 (Fernet)"),
        ("FIELD_KEYS", "", "DC_FIELD_KEYS"),
        ("TUNNEL_PORTS", "20000", "a range looks like 20000-32767"),
        ("TUNNEL_PORTS", "9-1", "a range looks like 20000-32767"),
        ("TUNNEL_PORTS", "1-70000", "a range looks like 20000-32767"),
        ("TUNNEL_PORTS", "a-b", "a range looks like 20000-32767"),
        ("INFLUXDB_URL", "http://influx", "DC_INFLUXDB_TOKEN is needed with DC_INFLUXDB_URL"),
        ("INFLUXDB_URL", "influx:8086", "DC_INFLUXDB_URL looks like http://127.0.0.1:8086"),
        ("FEE_BPS", "10001", "DC_FEE_BPS"),
        ("MODE", "prod", "DC_MODE"),
        ("LOG_LEVEL", "loud", "DC_LOG_LEVEL"),
        ("CURRENCY", "dollars", "DC_CURRENCY"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_would(
    good: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    good.setenv(f"DC_{name}", value)
    assert words in refused()


def test_production_has_to_be_encrypted_and_to_name_its_hosts(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_MODE", "production")
    assert "DC_PUBLIC_URL must be https:// in production" in refused()
    good.setenv("DC_PUBLIC_URL", "https://market.example")
    assert "DC_GATEWAY_URL must be wss:// in production" in refused()
    good.setenv("DC_GATEWAY_URL", "wss://market.example/ws/agent")
    assert "DC_PAYMENTS=fake gives money away; production needs stripe" in refused()
    good.setenv("DC_PAYMENTS", "stripe")
    assert "DC_STRIPE_SECRET_KEY and DC_STRIPE_WEBHOOK_SECRET are needed" in refused()
    good.setenv("DC_STRIPE_SECRET_KEY", SECRET)
    good.setenv("DC_STRIPE_WEBHOOK_SECRET", SECRET)
    assert "DC_MAIL must be smtp in production, or nobody gets any mail" in refused()
    good.setenv("DC_MAIL", "smtp")
    assert "DC_SMTP_HOST is needed with DC_MAIL=smtp" in refused()
    good.setenv("DC_SMTP_HOST", "mail.internal")
    assert "DC_PAYOUTS=fake pays nobody; production needs bank or stripe" in refused()
    good.setenv("DC_PAYOUTS", "bank")
    good.setenv("DC_ALLOWED_HOSTS", "*")
    assert "DC_ALLOWED_HOSTS must name the hosts in production" in refused()
    good.setenv("DC_ALLOWED_HOSTS", "market.example")
    assert env.load().mode is env.Mode.PRODUCTION


@pytest.mark.parametrize(
    "sender", ["", "nobody", "Market <nobody>", "Market <a@b>\nBcc: c@d", "a b@example.org"]
)
def test_mail_needs_a_sender_that_is_one(good: pytest.MonkeyPatch, sender: str) -> None:
    good.setenv("DC_MAIL_FROM", sender)
    assert "a sender looks like DistributedCompute <noreply@example.org>" in refused()


def test_a_mail_servers_user_and_password_belong_together(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_SMTP_USER", "dcompute")
    assert "DC_SMTP_USER and DC_SMTP_PASSWORD belong together" in refused()
    good.setenv("DC_SMTP_PASSWORD", SECRET)
    assert env.load().smtp_user == "dcompute"


def test_payouts_by_stripe_need_its_key(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_PAYOUTS", "stripe")
    assert "DC_STRIPE_SECRET_KEY is needed with DC_PAYOUTS=stripe" in refused()
    good.setenv("DC_STRIPE_SECRET_KEY", SECRET)
    assert env.load().payouts == "stripe"


def test_the_fee_schedule_and_the_warnings_are_read(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_FEE_SCHEDULE", "2027-01-01:800, 2028-01-01:1200")
    good.setenv("DC_LOW_BALANCE_SECONDS", "7200,60")
    loaded = env.load()
    assert loaded.fee_schedule == [(1_798_761_600, 800), (1_830_297_600, 1200)]
    assert loaded.low_balance_seconds == [7200, 60]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FEE_SCHEDULE", "soon:800", "soon:800 is not like 2027-01-01:800"),
        ("FEE_SCHEDULE", "2027-01-01:10001", "a fee is 0 to 10000"),
        ("FEE_SCHEDULE", "2027-01-01:-1", "a fee is 0 to 10000"),
        ("FEE_SCHEDULE", "2027-01-02:1,2027-01-01:2", "each day comes after the one before"),
        ("LOW_BALANCE_SECONDS", "1h", "seconds with commas between"),
        ("LOW_BALANCE_SECONDS", "0", "seconds with commas between"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    good: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    good.setenv(f"DC_{name}", value)
    assert words in refused()


def test_an_influxdb_with_its_token_is_taken(good: pytest.MonkeyPatch) -> None:
    good.setenv("DC_INFLUXDB_URL", "http://influx:8086")
    good.setenv("DC_INFLUXDB_TOKEN", SECRET)
    assert env.load().influxdb_bucket == "telemetry"
    good.setenv("DC_INFLUXDB_BUCKET", "")
    assert "DC_INFLUXDB_ORG and DC_INFLUXDB_BUCKET must not be empty" in refused()
