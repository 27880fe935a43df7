"""Normalised HSIC, the dependence measure of the HSIC bottleneck (Ma et al., AAAI 2020, arXiv 1908.01580).

Libraries have other estimators: pytorch-ignite's is the unbiased one of HSIC as it is. Everything is float64: in single
precision the regularised inverse turns gradients into rounding noise where HSIC is near its maximum, since all
eigenvalues of the centred kernel then dwarf the ridge.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

RIDGE = 1e-5  # times the number of samples


def gaussian_kernel(u: Tensor, sigma: float) -> Tensor:
    """Return exp(-||u_a - u_b||^2 / (2 sigma^2 d)) for samples u [m, ...] of d numbers each; float64 [m, m]."""
    flat = u.flatten(1).double()
    flat = flat - flat.detach().mean(dim=0)  # distances stay, and lose fewer digits
    norms = flat.square().sum(dim=1)
    distances = (norms[:, None] + norms[None, :] - 2 * flat @ flat.T).clamp(min=0)
    return torch.exp(-distances / (2 * sigma**2 * flat.shape[1]))


def label_kernel(y: Tensor) -> Tensor:
    """Return the linear kernel of one-hot labels, 1 where two are equal; y int64 [m], float64 [m, m]."""
    return (y[:, None] == y[None, :]).double()


def normalised(kernel: Tensor) -> Tensor:
    """Return R = C (C + RIDGE m I)^-1 with the centred kernel C = H K H; symmetric, eigenvalues in [0, 1)."""
    centred = kernel - kernel.mean(dim=0, keepdim=True)
    centred = centred - centred.mean(dim=1, keepdim=True)
    ridge = RIDGE * len(kernel) * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    return torch.cholesky_solve(centred, torch.linalg.cholesky(centred + ridge))


def hsic(kernel: Tensor, other: Tensor) -> Tensor:
    """Return trace(R R') of two kernels [m, m], a scalar: 0 if one is constant, below m - 1 and below either rank."""
    return (normalised(kernel) * normalised(other)).sum()


def bottleneck(
    x: Tensor, y: Tensor, hidden: Iterable[Tensor], *, lambda_x: float, lambda_y: float, sigma: float
) -> Tensor:
    """Return lambda_x sum_j HSIC(x, z_j) - lambda_y sum_j HSIC(y, z_j), a scalar, differentiable in the features.

    Args:
        x: the network's input, [m, ...].
        y: labels, int64 [m].
        hidden: features z_j, each [m, ...].
        lambda_x: weight of what features keep of the input.
        lambda_y: weight of what features know of the label.
        sigma: bandwidth of the Gaussian kernel of x and z_j, in units of the root of a variable's dimension.
    """
    wanted = lambda_x * normalised(gaussian_kernel(x, sigma)) - lambda_y * normalised(label_kernel(y))
    return torch.stack([(wanted * normalised(gaussian_kernel(z, sigma))).sum() for z in hidden]).sum()
