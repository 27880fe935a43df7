"""InTrain (Vemparala et al., 2021).

Trains mask scores together with the weights by fast adversarial training, with a penalty on the operations
above the budget.
"""
