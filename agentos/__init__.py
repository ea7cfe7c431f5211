"""How AgentOS is started and served: command line, settings, ASGI app, transports, embedded stores, supervisor."""

VERSION = "5.0.0"
"""The version of this code; the same as in `pyproject.toml`, which an image need not carry."""
