"""HARP (Zhao and Wressnegger, 2023).

Learns the rate of each layer together with importance scores: a growing penalty on the budget overshoot
meets a robust loss, while the weights stand still.
"""
