"""Random pruning (Blalock et al., 2020).

Removes weights (or filters) of a trained network at random and finetunes.
"""
