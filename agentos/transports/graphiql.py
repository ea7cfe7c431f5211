"""GraphiQL for a browser that asks: the stock page, which loads its parts from a CDN, and says so when it cannot."""

import secrets
from functools import cache
from typing import Final

from starlette.responses import HTMLResponse, Response
from strawberry.http.ides import get_graphql_ide_html

CDN: Final = "https://unpkg.com"
_NOTE: Final = """
    <script nonce="{nonce}">
      if (!window.React || !window.GraphiQL) {
        document.getElementById("graphiql").innerHTML =
          "<p style='font-family:sans-serif;margin:3em'>GraphiQL is loaded from unpkg.com, which this browser " +
          "does not reach. The API works without it: POST operations to this address.</p>";
      }
    </script>
"""


def page() -> Response:
    """The page, allowed to run its own script and those of the CDN, and nothing else."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src 'nonce-{nonce}' {CDN}; style-src 'unsafe-inline' {CDN}; font-src data: {CDN}; "
        "img-src 'self' data:; connect-src 'self'"
    )
    return HTMLResponse(_html().replace("{nonce}", nonce), headers={"content-security-policy": policy})


@cache
def _html() -> str:
    stock = get_graphql_ide_html("graphiql").replace("<title>Strawberry GraphiQL</title>", "<title>AgentOS</title>")
    # A token typed into the headers pane must not stay behind in the browser's storage.
    stock = stock.replace("shouldPersistHeaders: true", "shouldPersistHeaders: false")
    own = stock.replace("<script>", '<script nonce="{nonce}">')
    return own.replace('    <script nonce="{nonce}">', _NOTE + '    <script nonce="{nonce}">', 1)
