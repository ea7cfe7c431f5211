"""The tree of commands, and the way out of each: an exit code, and two lines when something went wrong."""

from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter

from agentos import VERSION
from agentos.cli import audit, backups, endpoints, history, people, running, upkeep, work
from agentos.cli.printing import Failed, complain, say
from agentos.cli.problems import explained

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2

app = App(
    name="python -m agentos",
    help="AgentOS: video jobs through eleven agents to clips, watched and steered over one GraphQL schema.",
    help_epilogue="Exit codes: 0 done, 1 failed, 2 wrong usage. Settings are environment variables: docs/settings.md.",
    version=VERSION,
    help_format="plaintext",
)
for commands in (
    running.commands,
    work.commands,
    people.commands,
    history.commands,
    upkeep.commands,
    backups.commands,
    audit.commands,
    endpoints.commands,
):
    for name in commands:
        app.command(commands[name])


@app.command
def docs(*, check: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write the generated pages and golden files, unless more is allowed than they say and nothing gives a reason.

    Args:
        check: Write nothing; fail when one is out of date.
    """
    from agentos import docs as pages

    for file, loosened in ((pages.MATRIX, pages.loosened()), (pages.TABLE, pages.unexplained())):
        if loosened:
            raise Failed(
                f"looser than {file} says: {'; '.join(loosened)}",
                f"Write `! {loosened[0]}: why` into {file}, a line for each, or take it back.",
            )
    stale = pages.stale(pages.every_page(app.generate_docs(output_format="markdown")))
    if check and stale:
        raise Failed(f"out of date: {', '.join(map(str, stale))}", "Run `python -m agentos docs` and commit them.")
    for change in pages.broken():
        say(f"this breaks clients: {change}")
    for page in stale:
        pages.write(page)
        say(f"wrote {page}")
    if not stale:
        say("all generated pages are up to date")


def main(arguments: Sequence[str]) -> int:
    """Carry out what the arguments say and return the exit code."""
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return WRONG_USAGE
    except KeyboardInterrupt:
        return FAILED
    except Failed as failed:
        complain(failed.message, failed.advice)
        return WRONG_USAGE if failed.wrong_usage else FAILED
    except BaseException as error:
        if (problem := explained(error)) is not None:
            complain(problem.message, problem.advice)
            return WRONG_USAGE if problem.wrong_usage else FAILED
        raise
    return code if isinstance(code, int) else DONE
