"""FRE (Zhuang et al., 2023).

Estimates, to first order, how much each filter contributes to the adversarial training loss, and removes
the least over all layers, in several rounds.
"""
