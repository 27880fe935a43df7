"""Random pruning at initialisation (Liu et al., 2022).

Removes weights of the untrained network at random, then trains what is left.
"""
