"""The eight hooks that a plugin may implement, and the markers `hookspec` and `hookimpl`.

A plugin implements what it offers and leaves the rest out:

    from apx import hookimpl

    @hookimpl
    def apx_methods():
        from .method import Hydra  # imported here, so that loading the plugin stays cheap

        return [Hydra]

Names must be new: a name that core or another plugin already offers is reported, and the later one is left out. What a
hook hands over is called only when it is used; the classes named here are imported inside the functions, as above, so
that a plugin loads in milliseconds. A plugin without a method needs no `taxonomy.json`; it states the version of this
interface that it was written for as `apx_api = "1"` in the module that its entry point names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from torch import Tensor, nn

    from apx.datasets import Dataset
    from apx.method import Method
    from apx.runner.observer import Observer
    from apx.specifics import Criterion
    from apx.training.objectives import Objective

PROJECT = "apx"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def apx_methods() -> Sequence[type[Method]]:  # type: ignore[empty-body]
    """Return the method classes of this distribution; each answers to the slug of its `taxonomy.json`."""


@hookspec
def apx_architectures() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Return networks by name: `factory(*, num_classes, in_channels, image_size, width)` makes one.

    A factory gets those of the four that it names, all but the first being optional, and returns a module, initialised
    from torch's global generator, that maps float32 [B, in_channels, image_size, image_size] in [0, 1] to logits
    [B, num_classes]. `width` is the channels of the first stage, None where the user did not say.
    """


@hookspec
def apx_datasets() -> Mapping[str, Callable[..., Dataset]]:  # type: ignore[empty-body]
    """Return data sets by name: `factory(data_dir)` describes one, and reads a split when it is used.

    A factory returns an `apx.Dataset` and may leave the parameter out. `data_dir` is the folder, a `Path`, in which
    downloads are kept; `Split.lazy` announces a split without reading it.
    """


@hookspec
def apx_objectives() -> Mapping[str, type[Objective]]:  # type: ignore[empty-body]
    """Return training objectives by name: classes of `apx.Objective`.

    A phase names one (`--set finetune.objective=NAME`) and makes it as `kind(settings, threat, teacher)`; how each
    batch is stepped, what is carried along and how it resumes stands at `apx.Objective`.
    """


@hookspec
def apx_criteria() -> Mapping[str, type[Criterion] | Criterion]:  # type: ignore[empty-body]
    """Return pruning criteria by name: instances of `apx.specifics.Criterion`, or classes that need no arguments.

    Any method can then rank by it, without importing the plugin: `masks_by("NAME", model, run)` or
    `criterion_of("NAME")`, both of `apx.specifics`.
    """


@hookspec
def apx_attacks() -> Mapping[str, Callable[..., Tensor]]:  # type: ignore[empty-body]
    """Return attacks by name, for `apx evaluate --attack NAME`: `attack(model, x, y, *, eps, ...)` makes images.

    `model` maps images to float32 logits [B, classes]; it is in eval mode, its parameters take no gradient, gradients
    are enabled. `x` are the images, float32 [B, C, H, W] in [0, 1], and `y` the labels, int64 [B], of samples that are
    classified correctly; both are copies. `eps` is the radius in pixel units of [0, 1]. `model` may be a copy made for
    attacks; what counts is whether the network itself is misled.

    An attack that names them also gets `norm` (`--norm`; one that does not is refused for others than Linf), `steps`
    (`--steps`), `alpha` (step size, eps / 4 by default), `seed`, and
    `indices`, int64 [B], the samples' positions in the split: random numbers keyed by these two
    (`apx.randomness.keyed_uniform`) do not depend on the batch size. torch's global generators are seeded before each
    batch and restored afterwards.

    It returns float images of the shape of `x`, each within `eps` of its original and in [0, 1] (`apx.attacks.project`
    sees to both; `x` itself where it found nothing). Anything else ends the evaluation with an error that names the
    attack. Whether an image is adversarial is judged by apx. Parameters of its own with defaults (numbers, words) are
    recorded in the results document, and so is the plugin's version.
    """


@hookspec
def apx_observers() -> Mapping[str, Callable[[], Observer]]:  # type: ignore[empty-body]
    """Return run observers by name, for `apx run --observer NAME`: `factory()` makes an `apx.Observer`.

    A class of one will do. It is made before the run begins, and told in `run_start` which run it hears of.
    """


@hookspec
def apx_commands() -> Mapping[str, click.Command]:  # type: ignore[empty-body]
    """Return further commands of the `apx` program by name, as click commands.

    A user's mistake is raised as `apx.UserError` (one line, exit status 2). Import torch inside the command's function:
    commands are gathered to look a name up.
    """
