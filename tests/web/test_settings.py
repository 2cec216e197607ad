from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.domain import address
from app.domain.rate import Rate
from app.settings import Settings, SettingsError

STRONG = "Zk3p9Qm1Xc7Vb5Nw2Ld8Rt4Yh6Gf0JsA"
GOOD: dict[str, Any] = {
    "base_url": "https://news.example.org",
    "secret_keys": (SecretStr(STRONG),),
    "hash_key": SecretStr(STRONG[::-1]),
}


def test_good_settings_are_fit_for_production() -> None:
    Settings.without_file(**GOOD).require_production()
    Settings.without_file(**{**GOOD, "base_url": "http://localhost:8000/"}).require_production()


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("secret_keys", (), "SECRET_KEYS is missing"),
        ("secret_keys", "", "SECRET_KEYS is missing"),
        ("secret_keys", " , ", "SECRET_KEYS is missing"),
        ("secret_keys", "changeme", "SECRET_KEYS is weak"),
        ("secret_keys", "a" * 64, "SECRET_KEYS is weak"),
        ("secret_keys", f"{STRONG},short", "SECRET_KEYS is weak"),
        ("hash_key", SecretStr(""), "HASH_KEY is missing"),
        ("hash_key", SecretStr(STRONG[:31]), "HASH_KEY is weak"),
        ("base_url", "", "BASE_URL is missing"),
        ("base_url", "news.example.org", "BASE_URL is missing"),
        ("base_url", "http://news.example.org", "BASE_URL must start with https"),
        ("base_url", "ftp://localhost", "BASE_URL must start with https"),
        ("base_url", "http://localhost.evil.example", "BASE_URL must start with https"),
        ("base_url", "https://news.example.org/?a=b", "BASE_URL must be https://name alone"),
        ("base_url", "https://news.example.org/letters", "BASE_URL must be https://name alone"),
        ("base_url", "https://news.example.org/#x", "BASE_URL must be https://name alone"),
        ("base_url", "https://user@news.example.org", "BASE_URL must be https://name alone"),
        ("base_url", "https://bücher.example", "BASE_URL must be https://name alone"),
        ("base_url", "https://news.example.org/a b", "BASE_URL must be https://name alone"),
        ("base_url", "https://[::1", "BASE_URL is not a URL"),
        ("base_url", "https://news.example.org:99999", "BASE_URL is not a URL"),
    ],
)
def test_what_is_unfit_for_production_is_named(name: str, value: object, named: str) -> None:
    settings = Settings.without_file(**{**GOOD, name: value})
    with pytest.raises(SettingsError) as refused:
        settings.require_production()
    assert f"NEWSLETTER_{named}" in str(refused.value)
    assert "short" not in str(refused.value)


def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.without_file().require_production()
    for name in ("SECRET_KEYS", "HASH_KEY", "BASE_URL"):
        assert f"NEWSLETTER_{name} is missing" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"trusted_proxies": "*"}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/8, *"}, "trusted_proxies"),
        ({"trusted_proxies": "0.0.0.0/0"}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/8,::/0"}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/99"}, "trusted_proxies"),
        ({"trusted_proxies": "proxy.internal"}, "trusted_proxies"),
        ({"consent_ip": "some"}, "consent_ip"),
        ({"feedback_ses_topics": "newsletter-feedback"}, "feedback_ses_topics"),
        ({"feedback_ses_topics": "arn:aws:sqs:eu-west-1:123456789012:x"}, "feedback_ses_topics"),
        ({"feedback_ses_topics": "arn:aws:sns:a/b:123456789012:x"}, "feedback_ses_topics"),
        ({"confirm_ttl": timedelta(days=31)}, "CONFIRM_TTL"),
        ({"confirm_ttl": timedelta(0)}, "CONFIRM_TTL"),
        ({"unconfirmed_retention": timedelta(days=6)}, "CONFIRM_TTL"),
        ({"confirm_cooldown": timedelta(days=-1)}, "CONFIRM_COOLDOWN"),
        ({"rate_limit_url": SecretStr("memcached://localhost")}, "rate_limit_url"),
        ({"rate_limit_url": SecretStr("redis://localhost:port/0")}, "rate_limit_url"),
        ({"client_rate": "often"}, "client_rate"),
        ({"public_rate": "100"}, "public_rate"),
        ({"confirm_rate": "many"}, "confirm_rate"),
        ({"mail_connections": 0}, "MAIL_CONNECTIONS"),
        ({"database_pooler": "statement"}, "database_pooler"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    values: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.without_file(**GOOD, **values)
    assert named in str(refused.value)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWSLETTER_SECRET_KEYS", f"{STRONG}, {STRONG[::-1]},")
    monkeypatch.setenv("NEWSLETTER_TRUSTED_PROXIES", "10.0.0.1/8, ::1")
    monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.example.org/")
    topics = ["arn:aws:sns:eu-west-1:123456789012:a", "arn:aws-cn:sns:cn-north-1:123456789012:b"]
    monkeypatch.setenv("NEWSLETTER_FEEDBACK_SES_TOPICS", ", ".join(topics))
    read = Settings.without_file()
    assert [key.get_secret_value() for key in read.secret_keys] == [STRONG, STRONG[::-1]]
    assert [str(network) for network in read.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert list(read.feedback_ses_topics) == topics
    assert read.base_url == "https://news.example.org"
    assert STRONG not in repr(read)


def test_rates_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEWSLETTER_MAIL_RATE", "14/s, 50000/d")
    monkeypatch.setenv("NEWSLETTER_MAIL_DOMAIN_RATES", "Gmail.com=20/s, example.org=500/h")
    monkeypatch.setenv("NEWSLETTER_CLIENT_RATE", "3/m")
    monkeypatch.setenv("NEWSLETTER_PUBLIC_RATE", "")
    monkeypatch.setenv("NEWSLETTER_CONFIRM_RATE", "")
    found = Settings.without_file()
    assert (found.client_rate, found.public_rate) == ((Rate(3, 60),), ())
    assert found.confirm_rate is None
    monkeypatch.setenv("NEWSLETTER_CONFIRM_RATE", "500/h")
    assert Settings.without_file().confirm_rate == Rate(500, 3_600)
    assert found.mail_rate == (Rate(14, 1), Rate(50_000, 86_400))
    assert found.mail_domain_rates == {"gmail.com": Rate(20, 1), "example.org": Rate(500, 3_600)}


@pytest.mark.parametrize("written", ["Müller.de", "xn--mller-kva.de", "MÜLLER.DE"])
def test_a_domain_with_a_rate_is_written_like_that_of_an_address(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("NEWSLETTER_MAIL_DOMAIN_RATES", f"{written}=1/m")
    [domain] = Settings.without_file().mail_domain_rates
    assert address.parse(f"idn@{written}").email == f"idn@{domain}"


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("MAIL_RATE", "fast", "14/s, 500/m"),
        ("MAIL_RATE", "10/s;5/m", "14/s, 500/m"),
        ("MAIL_DOMAIN_RATES", "20/s", "gmail.com=20/s"),
        ("MAIL_DOMAIN_RATES", "gmail.com=fast", "14/s, 500/m"),
        ("MAIL_DOMAIN_RATES", "a@gmail.com=1/s", "gmail.com=20/s"),
        ("BOUNCE_ADDRESS", "nobody", "valid e-mail address"),
        ("MAIL_CONNECTIONS", "0", "between 1 and 100"),
    ],
)
def test_a_bad_setting_says_what_a_good_one_looks_like(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(f"NEWSLETTER_{name}", value)
    with pytest.raises(ValidationError, match=named):
        Settings.without_file()
