"""A process for `spoken`: it adds, and fails at what cannot be added."""

import asyncio

from bench.commands import Answer, obey, say


async def add(a: int, b: int) -> Answer:
    return {"sum": a + b}


async def main() -> None:
    say({"ready": True})
    await obey({"add": add})


asyncio.run(main())
