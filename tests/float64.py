"""Networks in float64 for tests that compare two ways of training: there rounding decides no sign of an attack."""

from torch import Tensor, nn


class Double(nn.Module):
    """A network in float64 of float32 images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits in float64."""
        logits: Tensor = self.network(x.double())
        return logits
