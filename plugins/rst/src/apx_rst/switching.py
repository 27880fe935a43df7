"""R2S, random RST switch (the paper's defence at inference): tickets of one random network take turns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apx.attacks import frozen, pgd, uniform_start
from apx.randomness import derive_seed, keyed_uniform


class RandomSwitch(nn.Module):
    """Answers each batch by a ticket drawn uniformly, so that an attacker does not know which one he will meet.

    A ticket is a whole exported network: masks and batch-norm statistics are switched together. Draws depend on the
    seed and on how many there were. An attack on this module draws anew at each of its steps; the paper's attacker
    draws once for the whole attack, which is what `transfer` measures.

    Args:
        tickets: networks, images [B, C, H, W] in [0, 1] to logits [B, classes], from searches of one random network
            (the same seed) at different sparsities.
        seed: of the draws.

    Raises:
        ValueError: there is no ticket.
    """

    def __init__(self, tickets: Sequence[nn.Module], *, seed: int = 0) -> None:
        super().__init__()
        if not tickets:
            raise ValueError("a random switch needs at least one ticket")
        self.tickets = nn.ModuleList(tickets)
        self._seed = seed
        self._draws = 0

    def draw(self) -> nn.Module:
        """Return the next ticket."""
        self._draws += 1
        return self.tickets[derive_seed(self._seed, "switch", self._draws) % len(self.tickets)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the next ticket."""
        return self.draw()(x)


def transfer(
    tickets: Sequence[nn.Module], x: Tensor, y: Tensor, *, eps: float, alpha: float, steps: int, seed: int = 0
) -> Tensor:
    """Return the accuracy of each ticket on PGD examples of each: float64 [attacked ticket, ticket at inference].

    Its mean is the robust accuracy of `RandomSwitch` where attacker and defender draw independently and uniformly, one
    ticket for an attack; its diagonal is the robust accuracy of the tickets alone.

    Args:
        tickets: as for `RandomSwitch`; they run in eval mode, and are left in the mode they were in.
        x: images, float [B, C, H, W] in [0, 1].
        y: labels, int64 [B].
        eps, alpha, steps: Linf radius, step size and number of steps.
        seed: of the random start, the same for all tickets.
    """
    noise = keyed_uniform(seed, "transfer", torch.arange(len(x), device=x.device), tuple(x.shape[1:]))
    start = uniform_start(x, eps, noise)
    accuracy = torch.zeros(len(tickets), len(tickets), dtype=torch.float64)
    for attacked, source in enumerate(tickets):
        x_adv = pgd(source, x, y, eps=eps, alpha=alpha, steps=steps, start=start)
        for met, ticket in enumerate(tickets):
            with frozen(ticket), torch.no_grad():
                accuracy[attacked, met] = (ticket(x_adv).argmax(dim=1) == y).double().mean()
    return accuracy
