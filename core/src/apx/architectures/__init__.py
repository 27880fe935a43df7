"""Networks by name: the benchmark's, a few small ones, timm's and the user's own.

Importing this package does not import torch; building a network does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from apx.architectures.normalisation import Normalisation, normalisation_of, normalise_inputs
from apx.errors import UserError
from apx.lookup import accepts, call_with_accepted, choose, import_factory

if TYPE_CHECKING:
    from torch import nn

    Factory = Callable[..., nn.Module]

__all__ = ["BUILTIN", "Normalisation", "build", "builtin_architectures", "normalisation_of", "normalise_inputs"]

BUILTIN = {
    "resnet18": "apx.architectures.resnet:resnet18",
    "preact_resnet18": "apx.architectures.preact_resnet:preact_resnet18",
    "vgg16": "apx.architectures.vgg:vgg16",
    "vgg16_bn_linear": "apx.architectures.vgg:vgg16_bn_linear",
    "vgg16_bn_linear_avg": "apx.architectures.vgg:vgg16_bn_linear_avg",
    "vgg16_bn_mlp512": "apx.architectures.vgg:vgg16_bn_mlp512",
    "vgg16_bn_fc4096": "apx.architectures.vgg:vgg16_bn_fc4096",
    "wrn-28-4": "apx.architectures.wide_resnet:wrn_28_4",
    "wrn-28-10": "apx.architectures.wide_resnet:wrn_28_10",
    "cnn-small": "apx.architectures.cnn:cnn_small",
    "cnn-large": "apx.architectures.cnn:cnn_large",
}
_ALSO = "timm:NAME, py:module:factory"


def builtin_architectures() -> dict[str, Factory]:
    """Return core's own networks, as the hook `apx_architectures` hands them over: name to factory.

    A factory takes `num_classes, in_channels, image_size, width` by keyword (those it names) and returns a module
    that maps float32 [B, in_channels, image_size, image_size] in [0, 1] to logits [B, num_classes].
    """
    return {name: _deferred(target) for name, target in BUILTIN.items()}


def build(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    image_size: int = 32,
    width: int | None = None,
    normalisation: Normalisation | None = None,
) -> nn.Module:
    """Build the network `name`, freshly initialised from torch's global generator.

    Args:
        name: a registered architecture, `timm:NAME` (no weights are downloaded) or `py:module:factory`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width of the (square) images in pixels.
        width: channels of the first stage, from which all others follow; None is the paper's width.
        normalisation: statistics that the network subtracts and divides by before anything else; they stay
            outside `state_dict()`.

    Raises:
        UserError: unknown name, a width the network cannot take, or images too small for it.
    """
    if width is not None and width < 1:
        raise UserError(f"width {width} is not allowed: give a positive number of channels")
    options: dict[str, Any] = {
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": image_size,
        "width": width,
    }
    prefix, _, rest = name.partition(":")
    if prefix == "timm" and rest:
        from apx.architectures.timm_models import timm_model

        model = timm_model(rest, **options)
    else:
        model = _call(import_factory(rest, "network") if prefix == "py" else _registered(name), name, options)
    if name not in BUILTIN:
        from apx.architectures.probe import check_forward

        check_forward(model, name, num_classes, (in_channels, image_size, image_size))
    if normalisation is not None:
        normalise_inputs(model, normalisation, in_channels)
    return model


def _registered(name: str) -> Factory:
    if name in BUILTIN:  # core's names cannot be taken over, so no plugin need be loaded
        return builtin_architectures()[name]
    from apx.registry import architectures

    return choose(architectures(), name, "architecture", also=_ALSO)


def _call(factory: Factory, name: str, options: Mapping[str, Any]) -> nn.Module:
    if options["width"] is not None and not accepts(factory, "width"):
        raise UserError(f"the architecture '{name}' has no width: leave --width out")
    return call_with_accepted(factory, options)


def _deferred(target: str) -> Factory:
    """Return a factory that imports its module (and with it torch) when it is called."""
    module, _, function = target.partition(":")

    def factory(**options: Any) -> nn.Module:
        return call_with_accepted(getattr(importlib.import_module(module), function), options)

    return factory
