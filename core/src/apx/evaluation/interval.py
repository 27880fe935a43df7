"""The confidence interval printed beside every accuracy."""

import math
from statistics import NormalDist


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson, JASA 1927).

    Unlike the normal approximation it stays inside [0, 1] and keeps a width at 0 % and 100 %.

    Args:
        successes: how many of the `n` samples count, 0 <= successes <= n.
        n: number of samples, at least 1.
        confidence: coverage, in (0, 1).

    Raises:
        ValueError: the counts are no proportion.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} samples is no proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # at 0 and n the bound is 0 and 1 exactly; rounding would leave it a hair beside
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high
