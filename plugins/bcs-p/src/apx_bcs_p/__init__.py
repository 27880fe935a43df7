"""BCS-P (Özdenizci and Legenstein, 2021).

Samples connectivities from a posterior: weights of fixed sign that cross zero die and are replaced by
randomly drawn ones, so that the network is sparse from the first step to the last.
"""
