"""Heracles (Zhao et al., 2022).

A reinforcement-learning agent searches the rate of each layer under a global budget; HYDRA or R-ADMM then
prunes at these rates.
"""
