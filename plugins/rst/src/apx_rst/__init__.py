"""RST (Fu et al., 2021).

Trains one score per weight of a random network that is never trained, and keeps the top scores of each
layer: a robust subnetwork of random weights.
"""
