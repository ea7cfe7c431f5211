"""GraphiQL for a browser that asks: its parts come from this server, as all pages' do."""

from typing import Final

from starlette.responses import Response

from agentos.transports import pages

STYLES: Final = ("graphiql.min.css", "plugin-explorer.css")
SCRIPTS: Final = (
    "react.production.min.js",
    "react-dom.production.min.js",
    "graphiql.min.js",
    "plugin-explorer.js",
)


def page() -> Response:
    """The page, or where its parts were not laid out one that says so."""
    if not pages.laid_out(*STYLES, *SCRIPTS):
        return pages.plain(
            "AgentOS GraphQL",
            f"{pages.BUILD}<p>The API works without it: POST operations to this address. "
            'The schema is <a href="graphql/schema.graphql">here</a>.</p>',
        )
    # Its editor, and the menus of Radix, write style elements of their own.
    return pages.page(
        "AgentOS",
        '<div id="graphiql" class="graphiql-container">Loading…</div>',
        styles=STYLES,
        scripts=(*SCRIPTS, "graphiql.js"),
        inline_styles=True,
    )
