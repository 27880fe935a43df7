"""Datasets by name."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apx.datasets.dataset import Dataset
from apx.errors import UserError
from apx.lookup import choose, import_factory
from apx.paths import home

Factory = Callable[..., Dataset]
_ALSO = "folder:PATH, py:module:factory"


def builtin_datasets() -> dict[str, Factory]:
    """Return core's own datasets, as the hook `apx_datasets` hands them over: name to `factory(data_dir)`."""

    def torchvision(name: str) -> Factory:
        def factory(data_dir: Path) -> Dataset:
            from apx.datasets.torchvision_sets import torchvision_dataset

            return torchvision_dataset(name, data_dir)

        return factory

    return {"digits": _digits, **{name: torchvision(name) for name in ("cifar10", "cifar100", "svhn")}}


def load_dataset(
    name: str,
    data_dir: Path | str | None = None,
    *,
    threat_eps: float | None = None,
    augmentation: str | None = None,
) -> Dataset:
    """Return the dataset `name`; files are made available now, images are read when a split is touched.

    Args:
        name: a registered dataset, `folder:PATH`, or `py:module:factory` (`factory(data_dir)` gives a `Dataset`).
        data_dir: where downloaded files are and go; `apx.paths.home()/data` where None.
        threat_eps: another radius than the dataset's own.
        augmentation: another training augmentation than the dataset's own (`none`, `crop_flip`, `shift`).

    Raises:
        UserError: unknown name, missing data, unusable files.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "folder":
        from apx.datasets.folder import folder_dataset

        data = folder_dataset(rest)
    else:
        data = _made(name, rest, home() / "data" if data_dir is None else Path(data_dir).expanduser())
    changes: dict[str, Any] = {"threat_eps": threat_eps, "augmentation": augmentation}
    return dataclasses.replace(data, **{key: value for key, value in changes.items() if value is not None})


def _made(name: str, rest: str, data_dir: Path) -> Dataset:
    factory = import_factory(rest, "dataset") if name.startswith("py:") else _registered(name)
    data = factory(data_dir) if inspect.signature(factory).parameters else factory()
    if not isinstance(data, Dataset):
        raise UserError(f"the dataset '{name}' gave a {type(data).__name__}, not an apx.datasets.Dataset")
    return data


def _registered(name: str) -> Factory:
    builtin = builtin_datasets()
    if name in builtin:  # core's names cannot be taken over, so no plugin need be loaded
        return builtin[name]
    from apx.registry import datasets

    return choose(datasets(), name, "dataset", also=_ALSO)


def _digits(data_dir: Path) -> Dataset:
    from apx.datasets.digits import digits

    return digits()
