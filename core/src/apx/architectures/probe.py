"""Does a network that apx did not write take these images and give these logits?"""

import torch
from torch import nn

from apx.errors import UserError


def check_forward(model: nn.Module, name: str, num_classes: int, shape: tuple[int, int, int]) -> None:
    """Run one black image [1, *shape] in eval mode; raise a UserError unless logits [1, num_classes] come out.

    Training mode is restored; batch-norm statistics are not touched.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"the architecture '{name}' gave a {type(model).__name__}, not a torch.nn.Module")
    size = "x".join(map(str, shape))
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(1, *shape))
    except Exception as error:  # foreign code: it may raise anything, and the cause stays attached
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the architecture '{name}' does not take {size} images: {reason}") from error
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, num_classes):
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"the architecture '{name}' should give logits [1, {num_classes}] for one image, gave {got}")
