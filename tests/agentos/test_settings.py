"""Settings: what the environment says, once, and how it is handed to child processes."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from pydantic import ValidationError

from agentos.settings import Settings, inherited
from guards.networks import Confinement


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOS_ADMIN_ALLOW", "10.0.0.0/8, ::1/128")
    monkeypatch.setenv("AGENTOS_CORS_ORIGINS", "https://a.example,https://b.example,")

    settings = Settings()

    assert (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")) == settings.admin_allow
    assert ("https://a.example", "https://b.example") == settings.cors_origins


def test_actions_are_confined_by_rules_with_semicolons_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOS_ACTION_ALLOW", "system.*=10.0.0.0/8, ::1/128; database.restore_backup=127.0.0.1/32;")

    assert (
        Confinement("system.*", (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128"))),
        Confinement("database.restore_backup", (IPv4Network("127.0.0.1/32"),)),
    ) == Settings().action_allow


@pytest.mark.parametrize(
    "rule", ["sytem.*=10.0.0.0/8", "system.*", "system.*=", "=10.0.0.0/8", "system.*=10.0.0.1/8", "system.*=everybody"]
)
def test_a_rule_that_would_confine_nothing_is_refused(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not leave open what the rule was written for."""
    monkeypatch.setenv("AGENTOS_ACTION_ALLOW", rule)

    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "console.example",
        "https://console.example/",
        "https://*.example",
        "HTTPS://console.example",
        "https://",
    ],
)
def test_an_origin_is_written_as_browsers_send_it(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything wider is refused, and what could never be equal to an origin as well."""
    monkeypatch.setenv("AGENTOS_CORS_ORIGINS", f"https://a.example,{origin}")

    with pytest.raises(ValidationError, match="no origin"):
        Settings()


def test_ports_and_addresses_are_part_of_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOS_CORS_ORIGINS", "http://localhost:3000,http://[::1]:5173,https://10.0.0.1")

    assert ("http://localhost:3000", "http://[::1]:5173", "https://10.0.0.1") == Settings().cors_origins


@pytest.mark.parametrize(("name", "value"), [("PORT", "65536"), ("WORKERS", "-1"), ("ADMIN_ALLOW", "everybody")])
def test_what_makes_no_sense_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AGENTOS_{name}", value)

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert name.lower() == refused.value.errors()[0]["loc"][0]


def test_links_begin_where_clients_reach_the_api() -> None:
    assert "http://127.0.0.1:9000" == Settings(port=9000).base_url
    assert "http://[::]:9000" == Settings(host="::", port=9000).base_url
    assert "https://videos.example" == Settings(public_url="https://videos.example/").base_url


def test_a_child_inherits_the_environment_with_what_turned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOS_PORT", "0")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")

    environment = inherited(port=8123, data_dir=Path("/data"))

    assert ("8123", "/data", "kept") == (
        environment["AGENTOS_PORT"],
        environment["AGENTOS_DATA_DIR"],
        environment["SOMETHING_ELSE"],
    )
