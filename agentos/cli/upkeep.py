"""Commands that look after the installation and its papers: `doctor` and `docs`."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from cyclopts import Parameter

from agentos.cli.places import settings_with
from agentos.cli.printing import AsJson, Failed, say, show_json


async def doctor(*, as_json: AsJson = False) -> int:
    """Look at everything AgentOS needs of this machine and say how to mend what is missing.

    Args:
        as_json: Print JSON.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from agentos.doctor import Health, examine

    findings = await examine(settings_with())
    failed = sum(finding.health is Health.FAIL for finding in findings)
    if as_json:
        show_json({"healthy": not failed, "checks": [asdict(finding) for finding in findings]})
        return int(failed > 0)
    console = Console(highlight=False, soft_wrap=True)
    styles = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "bold red"}
    for finding in findings:
        line = Text(f"{finding.health:<5}", style=styles[finding.health]) + Text(f"{finding.check}: {finding.found}")
        console.print(line)
        if finding.mend:
            console.print(Text(f"      {finding.mend}"))
    say(f"{failed} of {len(findings)} checks failed" if failed else "nothing that would keep AgentOS from running")
    return int(failed > 0)


def docs(*, check: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write the generated pages and golden files.

    Args:
        check: Write nothing; fail when one is out of date.
    """
    from agentos import docs as pages

    stale = pages.stale()
    if check and stale:
        raise Failed(f"out of date: {', '.join(map(str, stale))}", "Run `python -m agentos docs` and commit them.")
    for page in stale:
        pages.write(page)
        say(f"wrote {page}")
    if not stale:
        say("all generated pages are up to date")


commands: Final[dict[str, Callable[..., Any]]] = {"doctor": doctor, "docs": docs}
