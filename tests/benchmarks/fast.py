"""What is written without much thought: a FastAPI route that reads the snapshot's JSON from Redis and returns it."""

import json
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from db.redis import Redis, connect


def app(redis: Redis, key: str) -> FastAPI:
    """One route, without any guard."""
    fast = FastAPI()

    @fast.get("/")
    async def snapshot() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await redis.get(key))
        return found

    return fast


if __name__ == "__main__":
    served = app(connect(sys.argv[2], answer_timeout_s=5), sys.argv[3])
    uvicorn.run(served, port=int(sys.argv[1]), log_level="critical", access_log=False)
