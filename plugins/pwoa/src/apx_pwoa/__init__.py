"""PwoA (Jian et al., 2022).

ADMM pruning of a robust network that distils its own dense logits on clean images, then masked finetuning
with distillation and an HSIC bottleneck: no attack, no cross-entropy.
"""
