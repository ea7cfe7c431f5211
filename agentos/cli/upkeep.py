"""The command that looks after the machine."""

from collections.abc import Callable
from typing import Any, Final

from agentos.cli.places import settings_with
from agentos.cli.printing import AsJson, say, show_json


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
    styles = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "bold red", Health.NONE: "dim"}
    for finding in findings:
        line = Text(f"{finding.health:<5}", style=styles[finding.health]) + Text(f"{finding.check}: {finding.found}")
        console.print(line)
        if finding.mend:
            console.print(Text(f"      {finding.mend}"))
    say(f"{failed} of {len(findings)} checks failed" if failed else "nothing that would keep AgentOS from running")
    return int(failed > 0)


commands: Final[dict[str, Callable[..., Any]]] = {"doctor": doctor}
