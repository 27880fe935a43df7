"""Sehwag19 (Sehwag et al., 2019).

Iterative magnitude pruning with one robust objective in pretraining and finetuning, and a pruning rule that
does not depend on it.
"""
