"""A network as an ONNX file: any batch size, normalisation inside, compared with PyTorch before it is kept."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .attacks import frozen
from .errors import UserError
from .paths import atomic_write

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference of logits between onnxruntime and PyTorch, relative to the largest logit where that exceeds 1."""


def export_onnx(path: Path, module: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> float | None:
    """Write a network as ONNX, atomically, and return the largest difference of its logits in onnxruntime.

    Input `images`, float32 [batch, C, H, W] in [0, 1], batch of any size; output `logits`, [batch, classes].

    Args:
        path: the file.
        module: the network; it is not changed.
        example: images to trace and to compare with, at least one.
        metadata: text stored with the network.

    Returns:
        The difference; None where onnxruntime is not installed and nothing was compared.

    Raises:
        UserError: the extra is not installed, the network cannot be exported, or onnxruntime answers otherwise; no file
            is left then.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise UserError(f"ONNX needs {' and '.join(missing)}: pip install 'apx-core[onnx]'")
    with frozen(module), torch.no_grad():
        content = _model(module, example, metadata)
        difference = _difference(content, example, module(example))
    scale = 1.0 if difference is None else max(1.0, difference[1])
    if difference is not None and not difference[0] <= TOLERANCE * scale:
        raise UserError(
            f"the ONNX network answers otherwise: logits differ by {difference[0]:.2g}; nothing was written"
        )
    atomic_write(path, content)
    return None if difference is None else difference[0]


def _model(module: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    pair = torch.cat([example[:1], example[:1]])  # a batch of one would be taken for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (pair,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{type(module).__name__} cannot be exported to ONNX: {first}") from error
    assert program is not None
    model = program.model_proto
    for name, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    content: bytes = model.SerializeToString()
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and remarks from stdout and stderr."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _difference(content: bytes, example: Tensor, logits: Tensor) -> tuple[float, float] | None:
    """Return the largest difference of logits, and the largest logit; None without onnxruntime."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [found] = session.run(["logits"], {"images": example.cpu().numpy()})
    return float((torch.from_numpy(found) - logits.cpu()).abs().max()), float(logits.abs().max())
