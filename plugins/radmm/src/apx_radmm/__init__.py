"""RADMM (Ye et al., 2019).

Adversarial training under a sparsity constraint, solved by ADMM: weights are pulled towards their
projection on the sparse set, then cut once and finetuned.
"""
