"""How long a station waits before it connects again (Part 4 §5.3, RetryBackOff* variables).

The first wait is the minimum, each further one doubles until the repeat count is reached, and a
random part is added so that ten thousand stations do not come back in the same second.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from station import device_model as dm


@dataclass(slots=True)
class BackOff:
    failures: int = 0

    def reset(self) -> None:
        self.failures = 0

    def next_delay(self, model: dm.DeviceModel, rng: random.Random) -> float:
        """Protocol seconds to wait now; counts the failure."""
        doublings = min(self.failures, model.integer(dm.BACK_OFF_REPEAT_TIMES))
        self.failures += 1
        minimum = model.integer(dm.BACK_OFF_WAIT_MINIMUM)
        jitter = rng.uniform(0, model.integer(dm.BACK_OFF_RANDOM_RANGE))
        return float(minimum * 2**doublings) + jitter
