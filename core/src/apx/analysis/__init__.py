"""What pruning did to a network, and what adversarial examples do inside it."""

from .crafting import Attack, craft, predict, round_towards
from .features import FeatureShift, LayerShift, feature_maps, feature_shift
from .layers import analyse_layers
from .rates import Rates, four_rates
from .reference import PrunedNetwork, open_pruned
from .sweep import SweepRow, rates_on, sweep, transfer, white_box
from .taps import rounded, taps
from .transforms import (
    GRID,
    TransformedWeights,
    WeightTransform,
    normality,
    parse_transform,
    suppress_large,
    suppress_small,
    transform_weights,
)
from .weights import LayerWeights, WeightComparison, compare_weights

__all__ = [
    "GRID",
    "Attack",
    "FeatureShift",
    "LayerShift",
    "LayerWeights",
    "PrunedNetwork",
    "Rates",
    "SweepRow",
    "TransformedWeights",
    "WeightComparison",
    "WeightTransform",
    "analyse_layers",
    "compare_weights",
    "craft",
    "feature_maps",
    "feature_shift",
    "four_rates",
    "normality",
    "open_pruned",
    "parse_transform",
    "predict",
    "rates_on",
    "round_towards",
    "rounded",
    "suppress_large",
    "suppress_small",
    "sweep",
    "taps",
    "transfer",
    "transform_weights",
    "white_box",
]
