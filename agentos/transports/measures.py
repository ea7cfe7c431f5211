"""Which endpoint of the table a request was for, below whichever prefix, and what is counted of its answer."""

from starlette.types import Scope

from db.traffic import Key
from resolvers.traffic import Recorder
from schema.rest.endpoints import ENDPOINTS
from schema.rest.serving import addresses


class Measures:
    """Counts the answers of endpoints; what is no row of the table is not among them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows = {
            (row.method, address.path): (Key(row.method, row.path), address.older)
            for row in ENDPOINTS
            for address in addresses(row)
        }

    def count(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            scope: of the request, as the application leaves it: a route that reads a cache says so in its state.
            route: the template of the route that answered.
        """
        # Whoever asks for the head alone is answered by the same row.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        row = self._rows.get((method, route))
        if row is not None:
            cached = scope.get("state", {}).get("cache_hit")
            self._recorder.record(row[0], status, seconds, legacy=row[1], cached=cached)
