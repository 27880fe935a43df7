"""Luo23 (Luo et al., 2023).

Trains gates layer by layer on mixed noise, guided by a feature scoring module and the difference between
clean and perturbed contributions, and keeps the best-gated channels.
"""
