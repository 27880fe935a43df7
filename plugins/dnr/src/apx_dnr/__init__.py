"""DNR (Kundu et al., 2021).

Sparse from the start: after each epoch the smallest weights go and as many grow back where momentum is
large, which moves capacity between layers, in one training with a hybrid loss.
"""
