"""The API's process, from its settings to its last word; it loads no codec."""

from agentos import logs, serving
from agentos.app import create_app
from agentos.connections import limits_of
from agentos.ports import PortTaken
from agentos.services import opened
from agentos.settings import Settings


async def serve(settings: Settings, *, supervised: bool) -> int:
    """Serve until told to stop; returns the status to exit with.

    Args:
        settings: with the addresses of both stores.
        supervised: the standard input is a lifeline to the supervisor.

    Raises:
        PortTaken: somebody else listens there, or the address is none of this machine.
    """
    logs.configure(settings.log_level, settings.log_format)
    try:
        listening = serving.bound(settings.host, settings.port)
    except OSError as error:
        raise PortTaken(settings.host, settings.port, "--port", error) from error
    async with opened(settings, application="agentos api") as services:
        app, limits = create_app(settings, services), limits_of(settings)
        return await serving.serve(app, listening, lifeline=supervised, limits=limits)
