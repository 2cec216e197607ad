import socket
from pathlib import Path

import pytest

from tests.journeys.processes import SECRETS, Done, Installation

LISTENING = "127.0.0.1"


def refusal(done: Done) -> str:
    """Return the one line that a refused command says."""
    assert done.code == 2, done
    assert done.out == ""
    [line] = done.err.splitlines()
    assert line.startswith("newsletter: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["keys", "nonsense"], "nonsense"),
        (["serve", "--nonsense"], "--nonsense"),
        (["serve", "--port", "0"], "--port"),
        (["serve", "--port", "65536"], "--port"),
        (["serve", "--port", "http"], "--port"),
        (["serve", "--processes", "0"], "--processes"),
        (["dev", "--port"], "--port"),
        (["dev", "--host", "0.0.0.0"], "--expose"),  # noqa: S104
        (["dev", "--host", "example.org"], "--expose"),
        (["keys", "create", "x"], "--scope"),
        (["keys", "create", "x", "--scope", "everything"], "everything"),
        (["keys", "create", "x", "--scope", "admin", "--expires", "tomorrow"], "expires"),
        (["policies", "publish", "1", "https://example.org", "--file", "none.txt"], "none.txt"),
        (["consent", "proof", "not-an-address"], "address"),
        (["consent", "proof"], "ADDRESS"),
    ],
)
def test_a_mistyped_command_is_refused_in_one_line(
    house: Installation, arguments: list[str], said: str
) -> None:
    assert said in refusal(house.run(*arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "create", "x", "--scope", "admin", "--newsletter", "none"], "newsletter"),
        (["keys", "revoke", "0123456789"], "no valid key"),
        (["newsletters", "create", "insights", "--name", "A", "--from", "a@b.org"], "slug"),
        (["newsletters", "create", "In Sights", "--name", "A", "--from", "a@b.org"], "slug"),
        (["newsletters", "create", "other", "--name", "A", "--from", "nobody"], "from_address"),
        (["newsletters", "create", "other", "--name", " ", "--from", "a@b.org"], "name"),
        (["policies", "publish", "2026-01", "https://example.org", "--file", "p"], "version"),
        (["policies", "publish", "2", "javascript:alert(1)", "--file", "p"], "url"),
        (["policies", "publish", "2", "https://example.org", "--file", "latin-1"], "UTF-8"),
        (["policies", "publish", "2", "https://example.org", "--file", "empty"], "text"),
        (["consent", "proof", "nobody@example.org"], "no subscriber"),
    ],
)
def test_a_value_that_does_not_fit_what_is_stored_is_refused_in_one_line(
    open_house: Installation, arguments: list[str], said: str
) -> None:
    for name, content in (("p", b"text"), ("latin-1", b"Datenschutzerkl\xe4rung"), ("empty", b"")):
        (open_house.folder / name).write_bytes(content)
    assert said in refusal(open_house.run(*arguments))


@pytest.mark.parametrize("command", ["serve", "work"])
def test_production_names_every_secret_that_is_missing(house: Installation, command: str) -> None:
    house.environment.clear()
    line = refusal(house.run(command))
    for name in ("SECRET_KEYS", "HASH_KEY", "BASE_URL"):
        assert f"NEWSLETTER_{name} is missing" in line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SECRET_KEYS", "short", "SECRET_KEYS is weak"),
        ("SECRET_KEYS", "a" * 64, "SECRET_KEYS is weak"),
        ("SECRET_KEYS", f"{SECRETS['NEWSLETTER_SECRET_KEYS']},short", "SECRET_KEYS is weak"),
        ("HASH_KEY", "short", "HASH_KEY is weak"),
        ("BASE_URL", "http://news.example.org", "BASE_URL must start with https://"),
        ("BASE_URL", "news.example.org", "BASE_URL"),
        ("BASE_URL", "https://me:pw@news.example.org", "BASE_URL must be"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL"),
        ("DATABASE_URL", "mysql://localhost/news", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://me:secret@host:port/news", "DATABASE_URL"),
        ("DATABASE_URL", "sqlite:///policy.txt/no/folder.db", "policy.txt"),
        ("MAIL_URL", "carrier-pigeon://dovecote", "mail URL"),
        ("MAIL_URL", "smtp://user:secret@mail.example.org:port", "mail URL"),
        ("MAIL_CONNECTIONS", "0", "MAIL_CONNECTIONS"),
        ("MAIL_CONNECTIONS", "many", "MAIL_CONNECTIONS"),
        ("TRUSTED_PROXIES", "*", "TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES", "10.0.0.0/99", "TRUSTED_PROXIES"),
        ("CONSENT_IP", "some", "CONSENT_IP"),
        ("CONFIRM_TTL", "P31D", "CONFIRM_TTL"),
        ("CONFIRM_TTL", "soon", "CONFIRM_TTL"),
        ("DATABASE_POOLER", "session", "DATABASE_POOLER"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT"),
        ("BOUNCE_ADDRESS", "nobody", "BOUNCE_ADDRESS"),
        ("BOUNCE_ADDRESS", f"{'b' * 28}@example.org", "BOUNCE_ADDRESS"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_a_secret_is_not_repeated(
    open_house: Installation, name: str, value: str, said: str
) -> None:
    open_house.environment[f"NEWSLETTER_{name}"] = value
    line = refusal(open_house.run("work"))
    assert said in line
    assert "secret@" not in line


def test_a_port_that_is_taken_is_told(open_house: Installation) -> None:
    with socket.create_server((LISTENING, 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ("serve", "dev"):
            assert port in refusal(open_house.run(command, "--port", port))


def test_sqlite_has_one_api_process(open_house: Installation) -> None:
    assert "SQLite" in refusal(open_house.run("serve", "--processes", "2"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "list"],
        ["keys", "create", "x", "--scope", "admin"],
        ["consent", "verify"],
        ["newsletters", "create", "x", "--name", "x", "--from", "a@example.org"],
    ],
)
@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_a_database_that_was_not_migrated_is_told(
    house: Installation, engine_name: str, arguments: list[str], empty_postgres: str
) -> None:
    if engine_name == "postgresql":
        house.environment["NEWSLETTER_DATABASE_URL"] = empty_postgres
    assert "newsletter migrate" in refusal(house.run(*arguments))


@pytest.mark.parametrize("arguments", [["migrate"], ["keys", "list"], ["consent", "verify"]])
def test_a_database_that_is_not_there_is_told(
    house: Installation, arguments: list[str], postgres: str
) -> None:
    house.environment["NEWSLETTER_DATABASE_URL"] = postgres.format("there_is_none")
    assert "database" in refusal(house.run(*arguments))


def test_a_file_that_is_no_database_is_told(house: Installation) -> None:
    Path(house.folder / "newsletter.db").write_text("a shopping list\n" * 400)
    assert "database" in refusal(house.run("migrate"))


def test_a_group_without_a_command_shows_its_help(house: Installation) -> None:
    for arguments in ([], ["keys"], ["consent"]):
        done = house.run(*arguments)
        assert (done.code, done.err) == (2, "")
        assert "Usage" in done.out


def test_the_command_as_installed_says_one_line_too(house: Installation) -> None:
    assert "nonsense" in refusal(house.spawn("nonsense"))
