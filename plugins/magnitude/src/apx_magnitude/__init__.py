"""Magnitude pruning after training, a baseline, as an apx plugin."""

from apx import Method, hookimpl


@hookimpl
def apx_methods() -> list[type[Method]]:
    """Offer the method to apx."""
    from .method import MagnitudePruning

    return [MagnitudePruning]
