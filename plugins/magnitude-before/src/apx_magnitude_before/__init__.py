"""Magnitude pruning at initialisation (Frankle et al., 2021).

Removes the weights of smallest magnitude of the untrained network, then trains what is left.
"""
