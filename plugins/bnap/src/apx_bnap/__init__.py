"""BNAP (Wei et al., 2021).

Scores channels by the batch-norm scale, and weights by the weight that results from folding the batch norm
into its convolution.
"""
