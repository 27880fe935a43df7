"""From Python: pruning one's own network on one's own data, and what `apx run` does."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .datasets import Dataset, from_loaders
from .errors import UserError
from .memory_format import lay_out, set_memory_format
from .registry import entry
from .runner.directory import RunDirectory
from .runner.observer import Observer
from .runner.progress import Progress, Quiet
from .runner.record import run_record
from .runner.request import Request, resolve
from .runner.start import carry_out, check_network, default_directory, make_run, start
from .runs import RunFolder, open_run


def prune(
    model: nn.Module,
    *,
    method: str,
    data: Any,
    sparsity: float | None = None,
    preset: str = "quick",
    settings: Mapping[str, Any] | None = None,
    structure: str | None = None,
    granularity: str | None = None,
    schedule: str | None = None,
    locality: str | None = None,
    budget: str | None = None,
    pretrained: bool = True,
    eps: float = 8 / 255,
    augmentation: str = "none",
    epochs_scale: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    evaluation: str = "none",
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Prune a copy of `model` by a method and return it with a report; `model` itself stays as it is.

    Args:
        model: maps images [B, C, H, W] in [0, 1] to logits; any `nn.Module` (structured variants: plain convolutions).
        method: slug of an implemented method, as in `apx list --implemented`.
        data: a `Dataset`, or (train, val) or (train, val, test), each a DataLoader, a pair of tensors or a `Split`.
        sparsity: share removed in the variant's unit; the method's default where None.
        preset: `quick` or `paper`.
        settings: overrides by dotted name, as `--set` takes them: {"finetune.epochs": 5}.
        structure, granularity, schedule, locality, budget: choose the variant; its first where None.
        pretrained: the weights are the trained dense network; False lets the method pretrain.
        eps: Linf radius of the threat, on images in [0, 1] (a `Dataset` brings its own).
        augmentation: `none`, `crop_flip` or `shift` (likewise).
        epochs_scale: factor on every phase's epochs.
        seed, device, precision: as for `apx run`.
        evaluation: `none`; `quick` or `standard` read the test split.
        out: a run directory to make, with checkpoints; nothing is written where None.
        progress: what shows the work.

    Returns:
        The plain pruned network, eval mode, on the run's device, and the report (see `report.json`).

    Raises:
        UserError: unknown method, variant, setting or value; unusable data; `out` exists.
    """
    dataset = data if isinstance(data, Dataset) else _dataset(data, eps, augmentation)
    request = Request(
        method=method,
        arch=type(model).__name__,
        dataset=dataset.name,
        structure=structure,
        granularity=granularity,
        schedule=schedule,
        locality=locality,
        budget=budget,
        sparsity=sparsity,
        preset=preset,
        set=dict(settings or {}),
        epochs_scale=epochs_scale,
        seed=seed,
        device=device,
        precision=precision,
        eval=evaluation,
    )
    resolved = resolve(request, dataset)
    network = lay_out(copy.deepcopy(model).to(resolved.device))
    check_network(network, resolved)
    directory = None if out is None else RunDirectory.create(Path(out), run_record(resolved))
    run = make_run(resolved, directory, progress or Quiet())
    run.determines = None  # a user's network is not a name that another run could ask the cache for
    if pretrained:
        run.dense = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        run.dense_origin = "as given"
    plain, report = carry_out(resolved, network, run)
    if directory is not None:
        directory.finish_run(report)
    return set_memory_format(plain, torch.contiguous_format), report


def run(
    method: str,
    *,
    arch: str = "resnet18",
    dataset: str = "digits",
    data_dir: str | None = None,
    width: int | None = None,
    structure: str | None = None,
    granularity: str | None = None,
    schedule: str | None = None,
    locality: str | None = None,
    budget: str | None = None,
    sparsity: float | None = None,
    preset: str = "quick",
    settings: Mapping[str, Any] | None = None,
    epochs_scale: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    checkpoint: Path | str | None = None,
    evaluation: str = "quick",
    out: Path | str | None = None,
    progress: Progress | None = None,
    observers: Sequence[Observer] = (),
) -> RunFolder:
    """Do what `apx run METHOD` does: prune a network by name on data by name, evaluate it, keep all in a run directory.

    Args:
        method: slug, key or name of an implemented method.
        arch: a network, as in the README's list.
        dataset: the data: a name, `folder:PATH` or `py:module:factory`.
        data_dir: where data sets are and are downloaded to; the cache where None.
        width: channels of the first stage; the paper's where None.
        structure, granularity, schedule, locality, budget: choose the variant; the method's first where None.
        sparsity: share removed in the variant's unit; the method's default where None.
        preset: `quick` or `paper`.
        settings: overrides by dotted name, as `--set` takes them: {"finetune.epochs": 5}.
        epochs_scale: factor on every phase's epochs.
        seed, device, precision: as for `apx run`.
        checkpoint: weights of the dense network to start from, in place of pretraining.
        evaluation: `quick`, `standard` or `none`.
        out: the run directory to make; `runs/<method>-<arch>-<dataset>-<time>` where None. One that was interrupted
            goes on with `apx.runner.start.resume`.
        progress: what shows the work; nothing where None.
        observers: listeners of the run.

    Returns:
        The run directory: its `path`, its `record` (run.json) and its `report` (report.json).

    Raises:
        UserError: a mistake in what is asked, or `out` exists; nothing has been trained or written then.
        Interrupted: Ctrl-C or SIGTERM; the directory can be resumed.
    """
    request = Request(
        method=entry(method).slug,
        arch=arch,
        dataset=dataset,
        data_dir=data_dir,
        width=width,
        structure=structure,
        granularity=granularity,
        schedule=schedule,
        locality=locality,
        budget=budget,
        sparsity=sparsity,
        preset=preset,
        set=dict(settings or {}),
        epochs_scale=epochs_scale,
        seed=seed,
        device=device,
        precision=precision,
        from_checkpoint=None if checkpoint is None else str(checkpoint),
        eval=evaluation,
    )
    path = default_directory(request) if out is None else Path(out)
    start(request, out=path, progress=progress, observers=list(observers))
    return open_run(path)


def _dataset(data: Any, eps: float, augmentation: str) -> Dataset:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise UserError("data must be a Dataset, (train, val) or (train, val, test); give loaders, tensors or splits")
    return from_loaders(*data, threat_eps=eps, augmentation=augmentation)
