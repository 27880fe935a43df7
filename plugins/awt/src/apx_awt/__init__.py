"""AWT (Shi et al., 2022).

At initialisation, fits a sparse student to the dense network's outputs and mixed tangent kernel on
adversarial inputs, so that it follows the same training dynamics; then trains it adversarially.
"""
