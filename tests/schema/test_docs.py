"""Docstrings on their way into the SDL."""

from enum import StrEnum

from db.jobs import Job
from schema import docs


class Mood(StrEnum):
    """How somebody feels.

    Raises:
        Nothing: at all.
    """

    GOOD = "good"
    """All is well."""

    BAD = "bad"


class Base:
    """Something."""

    kept: int
    """From the parent."""

    changed: int
    """From the parent, too."""


class Child(Base):
    """Something else."""

    changed: int
    """From the child."""

    @property
    def told(self) -> int:
        """By a property."""
        return 1

    silent: int


def test_a_summary_ends_where_arguments_and_errors_begin() -> None:
    assert "How somebody feels." == docs.summary(Mood)


def test_a_field_is_described_by_the_sentence_under_it() -> None:
    assert {"GOOD": "All is well."} == docs.of_fields(Mood)
    assert "Done share in percent, 0..100." == docs.of_fields(Job)["progress"]


def test_what_a_child_says_takes_the_place_of_its_parents_words() -> None:
    expected = {"kept": "From the parent.", "changed": "From the child.", "told": "By a property."}

    assert expected == docs.of_fields(Child)
