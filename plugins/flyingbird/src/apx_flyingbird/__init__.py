"""FlyingBird (Chen et al., 2022).

Dynamic sparse adversarial training: sparse from the start at fixed layer budgets, with a periodic drop of
the smallest weights and growth of new ones; FlyingBird+ also moves the total.
"""
