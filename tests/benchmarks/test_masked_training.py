"""What masks cost in training: a step of each method's own phase beside plain TRADES, same network and attack.

A method's overhead per step does not grow with the attack, so few steps of it make the ratio strict. Peak memory is
that of the process above what it held before, of one phase after the other.
"""

import pytest
from torch import nn

import apx

from .conftest import Compare
from .peak_memory import AVAILABLE, peak_above
from .phases import PHASES, Work, of_the_method, plain


def work_of(timing: bool) -> Work:
    """Return a resnet18 of a quarter of the width and TRADES-10 where it is timed, something tiny where not."""

    def build(width: int) -> nn.Module:
        return apx.build("resnet18", num_classes=10, width=width)

    return Work(lambda: build(16)) if timing else Work(lambda: build(4), batch=4, attack=1, steps=1)


@pytest.mark.parametrize("slug", PHASES)
def test_a_masked_epoch_against_plain_trades(compare: Compare, slug: str) -> None:
    work = work_of(compare.timing)
    compare.reported(
        f"{slug}, {PHASES[slug]}: TRADES-{work.attack}, resnet18 of width 16, {work.batch} images",
        of_the_method(slug, work),
        plain(work),
        named="plain TRADES",
        rounds=3,
    )


@pytest.mark.skipif(not AVAILABLE, reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("slug", PHASES)
def test_peak_memory_against_plain_trades(compare: Compare, slug: str) -> None:
    work = work_of(compare.timing)
    own, other = of_the_method(slug, work), plain(work)
    if compare.timing:
        other()  # what libraries set up once belongs to neither
    compare.memory(f"{slug}: peak memory", peak_above(own), peak_above(other), named="plain TRADES")
