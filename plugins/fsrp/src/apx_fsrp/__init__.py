"""FSRP (Qian et al., 2023).

Prunes, layer by layer, the filters whose feature maps on adversarial examples have the least low-frequency
energy relative to the high.
"""
