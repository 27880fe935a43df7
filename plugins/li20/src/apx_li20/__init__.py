"""Li20 (Li et al., 2020).

Boosting tickets: a short FGSM training at a small learning rate finds a global mask over layer-normalised
magnitudes; the weights are rewound and trained with PGD at a large rate.
"""
