"""RFP (Lim et al., 2021).

Trains naturally on a dataset that holds robust features only, and removes the filters with the largest loss
gradient, those that answer to non-robust features.
"""
