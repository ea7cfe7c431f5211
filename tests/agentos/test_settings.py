"""Settings: what the environment says, once, and how it is handed to child processes."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from pydantic import ValidationError

from agentos.settings import Settings, inherited


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOS_ADMIN_ALLOW", "10.0.0.0/8, ::1/128")
    monkeypatch.setenv("AGENTOS_CORS_ORIGINS", "https://a.example,https://b.example,")

    settings = Settings()

    assert (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")) == settings.admin_allow
    assert ("https://a.example", "https://b.example") == settings.cors_origins


@pytest.mark.parametrize(("name", "value"), [("PORT", "65536"), ("WORKERS", "-1"), ("ADMIN_ALLOW", "everybody")])
def test_what_makes_no_sense_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AGENTOS_{name}", value)

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert name.lower() == refused.value.errors()[0]["loc"][0]


def test_links_begin_where_clients_reach_the_api() -> None:
    assert "http://127.0.0.1:9000" == Settings(port=9000).base_url
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
