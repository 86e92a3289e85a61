"""A trained model as an ONNX graph, from users and excluded items to the best items."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_bd.backbones.role import Role
from recbole_bd.errors import ExportError, InstallationError

INPUTS, OUTPUTS = ("users", "excluded"), ("items", "scores")
# Largest allowed difference of scores, relative to the largest score: ONNX engines sum in another order than torch.
TOLERANCE = 1e-5


class TopItemsGraph(nn.Module):
    """Module that ranks all items except each user's excluded ones.

    If the logit is an inner product, the user and item vectors are constants of the graph. The layers that computed
    them (a graph convolution, a tower) are not part of it. Any other model is traced while it scores all items.

    Args:
        role: the model.
        count: items per user.
    """

    user_vectors: Tensor
    item_vectors: Tensor

    def __init__(self, role: Role, count: int):
        super().__init__()
        self.count = count
        with role.scoring():
            vectors = role.embeddings()
        self.role = role if vectors is None else None
        if vectors is None:
            self.model = role.model  # a submodule, so that its parameters are part of the graph
            return
        for name, table in zip(("user_vectors", "item_vectors"), vectors, strict=True):
            self.register_buffer(name, table.detach().cpu().clone())

    def forward(self, users: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best items.

        Args:
            users: inner ids, int64 [B].
            excluded: inner ids of items not to recommend, int64 [B, E]. Rows are padded with 0, the padding item, which
                is never recommended.

        Returns:
            Inner ids of items, int64 [B, count], the best first, and their logits, float32 [B, count]. The logits of
            places beyond a user's last item are -inf.
        """
        if self.role is None:
            scores = self.user_vectors[users] @ self.item_vectors.T
        else:
            with self.role.scoring():
                scores = self.role.graph_logits(users)
        padding = torch.zeros_like(excluded[:, :1])
        scores = scores.scatter(1, torch.cat([padding, excluded], dim=1), -torch.inf)
        values, items = scores.topk(self.count, dim=1)
        return items, values


def onnx_bytes(role: Role, count: int, known: list[Tensor]) -> bytes:
    """Export a model as an ONNX graph and check that ONNX Runtime gives the same scores as torch.

    Args:
        role: the model, on the CPU.
        count: items per user.
        known: inner ids of items not to recommend, for each of the users 1, 2, ... with which the graph is checked.

    Returns:
        Content of the ONNX file: inputs `users` [B] and `excluded` [B, E], outputs `items` and `scores` [B, count].
        See `TopItemsGraph.forward`. B and E are dynamic.

    Raises:
        InstallationError: onnx, onnxscript or onnxruntime is not installed.
        ExportError: ONNX lacks an operation that the model uses, or the graph gives other scores than torch.
    """
    runtime = _onnxruntime()
    model = type(role.model).__name__
    graph = TopItemsGraph(role, count).eval()
    users = torch.arange(1, len(known) + 1)
    excluded = nn.utils.rnn.pad_sequence([*known, torch.zeros(2, dtype=torch.int64)], batch_first=True)[:-1]
    batch, width = torch.export.Dim("batch"), torch.export.Dim("width")
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            path = Path(folder) / "graph.onnx"
            torch.onnx.export(
                graph,
                (users[:2], excluded[:2]),
                path,
                dynamo=True,
                verbose=False,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: batch}, {0: batch, 1: width}),
                external_data=False,
            )
            content = path.read_bytes()
        # The exporter raises errors of its own for every step, and those of torch and protobuf.
        except Exception as error:
            problem = str(error.__cause__ or error).strip().splitlines()[0][:200]
            raise ExportError(
                f"{model} cannot be written as an ONNX graph ({type(error).__name__}: {problem}); use --format=recbole"
            ) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    _check(runtime, content, graph, users, excluded, model)
    return content


def _check(runtime: Any, content: bytes, graph: TopItemsGraph, users: Tensor, excluded: Tensor, model: str) -> None:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for size in {1, len(users)}:
        given = dict(zip(INPUTS, (users[:size].numpy(), excluded[:size].numpy()), strict=True))
        scores = session.run(["scores"], given)[0]
        expected = graph(users[:size], excluded[:size])[1].detach().numpy()
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
        if not np.allclose(scores, expected, rtol=0, atol=TOLERANCE * largest):
            raise ExportError(f"{model} gives different scores as an ONNX graph and in torch; use --format=recbole")


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InstallationError(f'--format=onnx needs {error.name}: pip install "recbole-bd[export]"') from error
    return onnxruntime
