"""What a bug report needs to know: versions, machine, cache and everything that is wrong with plugins."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import registry
from .paths import home
from .registry.inspection import Inspected, inspect
from .registry.offers import described
from .storage import parts

_LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "numpy",
    "safetensors",
    "pyautoattack",
    "torch-pruning",
    "pydantic",
    "pluggy",
)


def diagnose() -> dict[str, Any]:
    """Return versions, machine, cache and plugins as plain JSON values. Loads torch; plugins run in other processes."""
    inspected = inspect()
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("apx-core", "apx-taxonomy", "apx-cli", *_LIBRARIES)},
        },
        "machine": _machine(),
        "cache": {
            "path": str(home()),
            "writable": _writable(),
            "parts": [{"name": part.name, "bytes": part.bytes} for part in parts()],
        },
        "plugins": {
            "distributions": {plugin.distribution: plugin.version for plugin in registry.plugins()},
            "methods": len(registry.entries()),
            "implemented": sum(entry.implemented for entry in registry.entries()),
            "commands": _offered(inspected, "commands"),
            "observers": _offered(inspected, "observers"),
        },
        "failures": [
            {
                "distribution": failure.distribution,
                "version": failure.version,
                "what": failure.what,
                "pointer": failure.pointer,
                "message": failure.message,
            }
            for one in inspected
            for failure in one.failures
        ],
    }


def _offered(inspected: tuple[Inspected, ...], kind: str) -> list[str]:
    return sorted(name for one in inspected for name in one.offers[kind])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    machine = {"system": platform.platform(), "cores": os.cpu_count()}
    try:
        import torch
    except Exception as error:  # what is wrong with it is a bug report's business, whatever it is
        return {**machine, "torch": f"it cannot be imported: {described(error)}"}

    cuda = torch.cuda.is_available()
    cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.10 and later
    bf16_cpu = bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16")) if cpu else None
    return {
        **machine,
        "device": "cuda" if cuda else "cpu",
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": torch.cuda.is_bf16_supported() if cuda else bf16_cpu,
    }


def _writable() -> bool:
    """Whether the cache folder, or the nearest folder above it that exists, can be written to."""
    folder = home()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
