"""Wang20 (Wang et al., 2020).

Iterative global magnitude pruning under adversarial training, each round inheriting the initial weights of
the winning ticket.
"""
