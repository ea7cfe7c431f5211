"""A link opens its one file for its time, and any change to it opens nothing."""

from datetime import timedelta

import pytest

from guards.errors import Forbidden, NotFound
from guards.links import LONGEST_LIFE, Link, Links

NOW = 1_700_000_000.0
PATH = "default/clips/ab/" + "ab" * 32 + ".mp4"


@pytest.fixture
def links() -> Links:
    return Links(b"s" * 32, "http://127.0.0.1:8001/")


def token_of(address: str) -> str:
    return address.rpartition("/")[2]


def test_a_link_says_what_it_was_made_for(links: Links) -> None:
    address = links.to("default", PATH, "Höhepunkt.mp4", inline=True, now=NOW)

    assert address.startswith("http://127.0.0.1:8001/files/")
    assert Link("default", PATH, "Höhepunkt.mp4", 1_700_003_600, True) == links.opened(token_of(address), now=NOW)


def test_a_link_ends_on_the_second(links: Links) -> None:
    token = token_of(links.to("default", PATH, "a.mp4", ttl=timedelta(seconds=60), now=NOW))

    assert "a.mp4" == links.opened(token, now=NOW + 59).name
    with pytest.raises(Forbidden):
        links.opened(token, now=NOW + 60)


def test_no_changed_letter_opens_anything(links: Links) -> None:
    token = token_of(links.to("default", PATH, "a.mp4", now=NOW))

    for place in range(len(token)):
        for letter in "A_":
            changed = token[:place] + letter + token[place + 1 :]
            if changed != token:
                with pytest.raises(NotFound):
                    links.opened(changed, now=NOW)


@pytest.mark.parametrize("token", ["", ".", "..", "a", "a.b", "é.é", "====.====", "../../etc/passwd", "A" * 10_000])
def test_what_was_never_a_link_looks_missing(links: Links, token: str) -> None:
    with pytest.raises(NotFound):
        links.opened(token, now=NOW)


def test_a_link_of_another_secret_looks_missing(links: Links) -> None:
    token = token_of(Links(b"t" * 32, "").to("default", PATH, "a.mp4", now=NOW))

    with pytest.raises(NotFound):
        links.opened(token, now=NOW)


@pytest.mark.parametrize("path", ["other/clips/ab/x.mp4", "defaulted/clips/x.mp4", "/default/clips/x.mp4", "default"])
def test_no_link_is_made_to_a_file_of_another_tenant(links: Links, path: str) -> None:
    with pytest.raises(ValueError):
        links.to("default", path, "a.mp4", now=NOW)


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), LONGEST_LIFE + timedelta(seconds=1)])
def test_a_link_lives_some_time_and_at_most_seven_days(links: Links, ttl: timedelta) -> None:
    with pytest.raises(ValueError):
        links.to("default", PATH, "a.mp4", ttl=ttl, now=NOW)


def test_a_short_secret_makes_no_links() -> None:
    with pytest.raises(ValueError):
        Links(b"s" * 31, "")
