"""Adversarial training as textbooks write it: what apx's faster steps equal, and what they are timed against.

Nothing is computed once that a line of the paper computes twice, nothing is frozen, nothing is laid out for speed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def trades_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    beta: float,
    log_target: bool = False,
) -> Tensor:
    """Make one step of TRADES (Zhang et al., ICML 2019) as its paper's code does, and return the loss.

    Args:
        model: images [B, C, H, W] in [0, 1] to logits.
        optimizer: of the model's parameters.
        x: images.
        y: labels, int64 [B].
        noise: standard normal, of the shape of x; the attack starts at x + 0.001 noise.
        eps: radius.
        alpha: step size.
        steps: of the attack, in eval mode.
        beta: weight of the divergence.
        log_target: give the divergence its target as log-probabilities, not as the paper's code does; that is the same
            function, rounded otherwise.
    """
    divergence = nn.KLDivLoss(reduction="sum", log_target=log_target)
    target = functional.log_softmax if log_target else functional.softmax
    model.eval()
    x_adv = (x + 0.001 * noise).detach()
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = divergence(functional.log_softmax(model(x_adv), dim=1), target(model(x), dim=1))
        (gradient,) = torch.autograd.grad(loss, [x_adv])
        x_adv = x_adv.detach() + alpha * gradient.sign()
        x_adv = torch.clamp(torch.min(torch.max(x_adv, x - eps), x + eps), 0.0, 1.0)
    x_adv = torch.clamp(x_adv, 0.0, 1.0)
    model.train()
    optimizer.zero_grad()
    natural = functional.cross_entropy(model(x), y)
    robust = divergence(functional.log_softmax(model(x_adv), dim=1), target(model(x), dim=1)) / len(x)
    loss = natural + beta * robust
    loss.backward()
    optimizer.step()
    return loss.detach()


def pgd_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    noise: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
) -> Tensor:
    """Make one step of PGD adversarial training (Madry et al., ICLR 2018), in train mode throughout; return the loss.

    Arguments as of `trades_step`; `noise` is uniform in [0, 1), the attack starts anywhere in the ball.
    """
    model.train()
    x_adv = torch.clamp(x + eps * (2 * noise - 1), 0.0, 1.0).detach()
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = functional.cross_entropy(model(x_adv), y)
        (gradient,) = torch.autograd.grad(loss, [x_adv])
        x_adv = x_adv.detach() + alpha * gradient.sign()
        x_adv = torch.clamp(torch.min(torch.max(x_adv, x - eps), x + eps), 0.0, 1.0)
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x_adv), y)
    loss.backward()
    optimizer.step()
    return loss.detach()
