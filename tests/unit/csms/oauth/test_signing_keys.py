"""The token keys' cache: fresh enough, and no amplifier of a flood."""

import asyncio
from datetime import timedelta

import pytest

from csms.oauth.signing_keys import SigningKeys
from tests.fixtures.api_room import LocalSigner
from tests.fixtures.inside import MovableClock


class SlowSigner(LocalSigner):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()

    async def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        await self.go.wait()
        return await super().public_jwks()


def test_a_flood_while_the_signer_is_away_is_one_fetch() -> None:
    """F08: also when no key was ever seen."""

    async def main() -> None:
        signer, clock = LocalSigner(), MovableClock()
        signer.away = True
        keys = SigningKeys(signer, clock)
        for _ in range(50):
            with pytest.raises(ConnectionError):
                await keys.by_kid("1")
        assert signer.fetches == 1
        signer.away = False
        clock.pass_time(timedelta(seconds=3))
        assert await keys.by_kid("1") is not None

    asyncio.run(main())


def test_a_flood_of_unknown_names_is_few_fetches() -> None:
    async def main() -> None:
        signer, clock = LocalSigner(), MovableClock()
        keys = SigningKeys(signer, clock)
        for number in range(50):
            assert await keys.by_kid(f"x{number}") is None
        assert signer.fetches == 1
        signer.rotate()
        clock.pass_time(timedelta(seconds=11))
        assert await keys.by_kid("2") is not None

    asyncio.run(main())


def test_a_known_key_stays_good_while_the_signer_is_away() -> None:
    async def main() -> None:
        signer, clock = LocalSigner(), MovableClock()
        keys = SigningKeys(signer, clock)
        assert await keys.by_kid("1") is not None
        signer.away = True
        clock.pass_time(timedelta(hours=1))
        assert await keys.by_kid("1") is not None
        assert await keys.by_kid("2") is None

    asyncio.run(main())


def test_a_signer_that_hangs_holds_up_one_request_and_not_all() -> None:
    async def main() -> None:
        signer, clock = SlowSigner(), MovableClock()
        keys = SigningKeys(signer, clock)
        assert await keys.by_kid("1") is not None
        signer.go.clear()
        clock.pass_time(timedelta(seconds=61))
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            first = tasks.create_task(keys.by_kid("1"))
            await asyncio.sleep(0)
            assert await keys.by_kid("1") is not None
            assert not first.done()
            signer.go.set()
        assert first.result() is not None

    asyncio.run(main())
