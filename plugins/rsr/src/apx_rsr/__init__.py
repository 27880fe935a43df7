"""RSR (Rakin et al., 2019).

One robust training with trained channel-wise weight noise and a lasso penalty, then one global magnitude
threshold.
"""
