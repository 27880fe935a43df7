"""Cosentino19 (Cosentino et al., 2019).

Lottery tickets under adversarial training: train, remove the smallest weights, rewind to the
initialisation, repeat.
"""
