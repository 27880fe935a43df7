"""Deadwooding (Kaur et al., 2022).

A Lagrangian dual drives the globally smallest weights to zero under distillation from the dense network;
one cut, then distillation on FGSM examples.
"""
