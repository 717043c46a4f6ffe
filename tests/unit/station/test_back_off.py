"""RetryBackOff*: Part 4 §5.3."""

import random

from station import device_model as dm
from station.back_off import BackOff
from station.device_model import DeviceModel


def delays(*, seed: int, jitter: int, count: int = 6) -> list[float]:
    values = {
        dm.BACK_OFF_WAIT_MINIMUM: "2",
        dm.BACK_OFF_RANDOM_RANGE: str(jitter),
        dm.BACK_OFF_REPEAT_TIMES: "3",
    }
    back_off, rng = BackOff(), random.Random(seed)
    return [back_off.next_delay(DeviceModel(values), rng) for _ in range(count)]


def test_delay_doubles_until_the_repeat_times_and_stays() -> None:
    assert delays(seed=1, jitter=0) == [2, 4, 8, 16, 16, 16]


def test_random_part_stays_in_its_range_and_follows_the_seed() -> None:
    plain, random_ones = delays(seed=1, jitter=0), delays(seed=1, jitter=5)
    extra = [jittered - base for jittered, base in zip(random_ones, plain, strict=True)]
    assert all(0 <= item <= 5 for item in extra)
    assert len(set(extra)) == len(extra)
    assert delays(seed=1, jitter=5) == random_ones != delays(seed=2, jitter=5)


def test_success_starts_again_from_the_minimum() -> None:
    back_off = BackOff(failures=5)
    back_off.reset()
    model = DeviceModel({dm.BACK_OFF_RANDOM_RANGE: "0"})
    assert back_off.next_delay(model, random.Random(1)) == 5
