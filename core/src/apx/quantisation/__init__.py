"""8-bit post-training quantisation of a pruned network: zeros stay zero, and the result can be attacked.

Static and simulated: convolution and linear weights are int8, per output channel and symmetric (so zero is the integer
0), their inputs are uint8 with one range per layer, seen on calibration images; batch norm is folded into the layer
before it first (Jacob et al., CVPR 2018; Nagel et al., arXiv 2106.08295). Biases, additions and pooling stay float32.
torchao calibrates and rounds; what comes out is a plain network with torch's own fake quantisation, whose backward pass
is the straight-through estimator (Bengio et al., arXiv 1308.3432), so that gradient attacks see through the rounding.
"""

from .comparison import Comparison, compare
from .files import load_quantised, save_quantised
from .quantising import QuantisationReport, Quantised, quantise
from .simulation import is_quantised

__all__ = [
    "Comparison",
    "QuantisationReport",
    "Quantised",
    "compare",
    "is_quantised",
    "load_quantised",
    "quantise",
    "save_quantised",
]
