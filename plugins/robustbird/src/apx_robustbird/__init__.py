"""RobustBird (Chen et al., 2022).

Robust early-bird tickets: short dense training until the global magnitude mask stops changing, one cut
without rewinding, then adversarial training of what is left.
"""
