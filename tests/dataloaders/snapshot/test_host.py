"""The machine: measured, at most once a second."""

from pathlib import Path

import pytest

from dataloaders.snapshot import host as module
from dataloaders.snapshot.host import Host


def test_the_disk_is_the_one_the_data_will_be_on(tmp_path: Path) -> None:
    machine = Host(tmp_path / "not" / "yet" / "there").machine()

    assert 0 < machine.disk_free <= machine.disk_total
    assert 0 < machine.memory_percent <= 100


def test_asked_again_at_once_it_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two measurements a moment apart would call the processor idle, or wholly busy."""
    monkeypatch.setattr(module, "_REST_S", 3600.0)
    host = Host(tmp_path)

    first = host.machine()

    assert first is host.machine()
    assert first.cpu_percent is None
