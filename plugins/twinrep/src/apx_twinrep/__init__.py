"""TwinRep (Li et al., 2023).

Writes each weight as a product of two trained factors, so that weight decay on the factors acts as an l1
penalty on the weight; one global magnitude mask of the products is drawn early in a single robust training.
"""
