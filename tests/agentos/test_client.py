"""What the client makes of the API's answers."""

from datetime import UTC, datetime

import pytest
from graphql import build_schema, parse, validate

from agentos.client import STATE, Job, Source
from schema import root


def test_what_it_asks_of_a_job_fits_the_schema() -> None:
    asked = parse("query($id: ID!) { job(id: $id) { ...State } }" + STATE)

    assert [] == validate(build_schema(root.schema.as_str()), asked)


@pytest.mark.parametrize(
    ("title", "address", "called"),
    [
        ("Talk", "https://a.example/v.mp4", "Talk"),
        ("", "https://a.example/v.mp4", "https://a.example/v.mp4"),
        ("", None, ""),
    ],
)
def test_a_job_without_a_title_is_called_by_its_address(title: str, address: str | None, called: str) -> None:
    job = Job(
        id="1",
        title=title,
        status="QUEUED",
        progress=0,
        current_step=None,
        error_code=None,
        error_message=None,
        created_at=datetime(2031, 5, 4, tzinfo=UTC),
        completed_at=None,
        source=Source(kind="URL", address=address),
        steps=[],
        clips=[],
    )

    assert called == job.called
