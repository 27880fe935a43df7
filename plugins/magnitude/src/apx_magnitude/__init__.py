"""Magnitude pruning (Han et al., 2015).

Removes the weights (or filters) of smallest magnitude of a trained network and finetunes.
"""
