"""Random numbers for data that the suite makes: the same on every machine and numpy release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Draw:
    """Integers from PCG64's raw stream, which numpy keeps stable (the methods of `Generator` may change between
    releases, so none is used)."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self._bits = np.random.PCG64(seed)

    def integers(self, low: int, high: int, count: int) -> Array:
        """`count` int64 in [low, high), high - low < 2^31; the bias of scaling is below 2^-32."""
        import numpy as np

        raw = self._bits.random_raw(count) >> np.uint64(32)
        return low + ((raw * np.uint64(high - low)) >> np.uint64(32)).astype(np.int64)

    def integer(self, low: int, high: int) -> int:
        """One of them."""
        return int(self.integers(low, high, 1)[0])

    def shuffled(self, items: list[Any]) -> list[Any]:
        """A copy in random order (Fisher-Yates)."""
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(0, last + 1)
            items[last], items[other] = items[other], items[last]
        return items
