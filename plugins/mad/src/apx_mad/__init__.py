"""MAD (Lee et al., 2022).

Finds, per batch of adversarial examples, the soft mask that lowers the adversarial loss, and prunes by the
second-order (K-FAC) saliency of that displacement.
"""
