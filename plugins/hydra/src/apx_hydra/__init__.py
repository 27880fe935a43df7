"""HYDRA (Sehwag et al., 2020).

Pruning as robust empirical risk minimisation: one importance score per weight is trained with a straight-
through gradient while the weights stand still, and the top scores of each layer are kept.
"""
