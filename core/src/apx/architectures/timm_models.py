"""`timm:NAME`: any network of timm, without its pretrained weights."""

import difflib
from typing import Any

from torch import nn

from apx.errors import UserError


def timm_model(name: str, *, num_classes: int, in_channels: int, image_size: int, width: int | None) -> nn.Module:
    """Build timm's network `name`; those with a fixed input size (ViT, Swin, ...) are made for `image_size`.

    Raises UserError for a name timm does not have and for a width, which timm's networks do not take.
    """
    import timm  # about five seconds: only where a timm network is asked for

    if width is not None:
        raise UserError("timm networks have no width: leave --width out, or take a smaller one of them")
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3))
        raise UserError(f"timm has no network '{name}'" + (f"; nearest: {near}" if near else ""))
    settings = timm.get_pretrained_cfg(name)
    fixed: dict[str, Any] = {"img_size": image_size} if settings is not None and settings.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels, **fixed)
    except (AssertionError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"timm cannot build '{name}' for {image_size}x{image_size} images: {error}") from error
