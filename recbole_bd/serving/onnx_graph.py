"""A trained model as an ONNX graph, from users or their sequences, and excluded items, to the best items."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_bd.backbones.registry import is_recboles
from recbole_bd.backbones.role import Role
from recbole_bd.data.sequences import WHOLE
from recbole_bd.errors import ExportError, InstallationError
from recbole_bd.serving.recommender import has_user_vectors, sequences_of

OUTPUTS = ("items", "scores")
# Largest allowed difference of scores, relative to the largest score: ONNX engines sum in another order than torch.
TOLERANCE = 1e-5
# Models that are always refused: ONNX lacks a step of them, gives other scores, or has no input that they read.
NOT_WRITTEN = frozenset({
    "ADMMSLIM", "AsymKNN", "DiffRec", "EASE", "ItemKNN", "LDiffRec", "Pop", "Random", "SLIMElastic",
    "BERT4Rec", "Caser", "GCSAN", "GRU4RecCPR", "HRM", "SASRecCPR", "SHAN", "SRGNN",
})  # fmt: skip


class ItemsGraph(nn.Module):
    """Module that ranks all items except each user's excluded ones.

    Args:
        count: items per user.

    Attributes:
        inputs: names of the inputs of `forward`.
    """

    inputs: tuple[str, ...]

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def best(self, scores: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best items.

        Args:
            scores: logits of all items, [B, n_items].
            excluded: inner ids of items not to recommend, int64 [B, E]. Rows are padded with 0, the padding item, which
                is never recommended.

        Returns:
            Inner ids of items, int64 [B, count], the best first, and their logits, float32 [B, count]. The logits of
            places beyond a user's last item are -inf.
        """
        padding = torch.zeros_like(excluded[:, :1])
        scores = scores.scatter(1, torch.cat([padding, excluded], dim=1), -torch.inf)
        values, items = scores.topk(self.count, dim=1)
        return items, values


class TopItemsGraph(ItemsGraph):
    """Module that ranks items by a general model.

    If the logit is an inner product, the user and item vectors are constants of the graph. The layers that computed
    them (a graph convolution, a tower) are not part of it. Any other model is traced while it scores all items.

    Args:
        role: the model.
        count: items per user.
    """

    inputs = ("users", "excluded")
    user_vectors: Tensor
    item_vectors: Tensor

    def __init__(self, role: Role, count: int):
        super().__init__(count)
        with role.scoring():
            vectors = role.embeddings()
        self.role = role if vectors is None else None
        if vectors is None:
            self.model = role.model  # a submodule, so that its parameters are part of the graph
            return
        for name, table in zip(("user_vectors", "item_vectors"), vectors, strict=True):
            self.register_buffer(name, table.detach().cpu().clone())

    def forward(self, users: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best items of users.

        Args:
            users: inner ids, int64 [B].
            excluded: see `ItemsGraph.best`.

        Returns:
            See `ItemsGraph.best`.
        """
        if self.role is None:
            scores = self.user_vectors[users] @ self.item_vectors.T
        else:
            with self.role.scoring():
                scores = self.role.graph_logits(users)
        return self.best(scores, excluded)


class NextItemsGraph(ItemsGraph):
    """Module that ranks items after sequences, by a sequential model that has no vectors of users.

    Args:
        role: the model, which is traced.
        count: items per user.
    """

    inputs = ("sequences", "lengths", "excluded")

    def __init__(self, role: Role, count: int):
        super().__init__(count)
        self.role, self.model = role, role.model  # the parameters of the submodule are part of the graph

    def forward(self, sequences: Tensor, lengths: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best next items.

        Args:
            sequences: inner ids in order of time, int64 [B, L] with `MAX_ITEM_LIST_LENGTH` columns, padded with 0 at
                the end. Of longer sequences the last items count.
            lengths: number of items of each sequence, at least 1, int64 [B].
            excluded: see `ItemsGraph.best`.

        Returns:
            See `ItemsGraph.best`.
        """
        return self.best(self.after(torch.zeros_like(lengths), sequences, lengths), excluded)

    def after(self, users: Tensor, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Logits of all items, [B, n_items]."""
        columns = {self.model.USER_ID: users, self.model.ITEM_SEQ: sequences, self.model.ITEM_SEQ_LEN: lengths}
        with self.role.scoring():
            return self.role.scores.of_histories(Interaction(columns))


class NextItemsOfUsersGraph(ItemsGraph):
    """The same for a sequential model that has a vector for each user too.

    Args:
        role, count: see `NextItemsGraph`.
    """

    inputs = ("users", *NextItemsGraph.inputs)

    def __init__(self, role: Role, count: int):
        super().__init__(count)
        self.of_sequences = NextItemsGraph(role, count)

    def forward(self, users: Tensor, sequences: Tensor, lengths: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best next items; `users` are inner ids, int64 [B], and the others as in `NextItemsGraph.forward`."""
        return self.best(self.of_sequences.after(users, sequences, lengths), excluded)


def graph_of(role: Role, count: int) -> ItemsGraph:
    """The graph of a model: of users, or of sequences.

    Args:
        role: the model.
        count: items per user.
    """
    kind: Callable[[Role, int], ItemsGraph] = TopItemsGraph
    if sequences_of(role) is not None:
        kind = NextItemsOfUsersGraph if has_user_vectors(role) else NextItemsGraph
    return kind(role, count).eval()


def _given(role: Role, known: list[Tensor]) -> dict[str, Tensor]:
    """Inputs of the first users by name; sequences are those up to their last items."""
    users = torch.arange(1, len(known) + 1)
    padded = nn.utils.rnn.pad_sequence([*known, torch.zeros(2, dtype=torch.int64)], batch_first=True)[:-1]
    given = {"users": users, "excluded": padded}
    if (sequences := sequences_of(role)) is not None:
        histories = sequences.of_users(users, WHOLE)
        given |= dict(zip(("sequences", "lengths"), (histories[name] for name in sequences.fields), strict=True))
    return given


def onnx_bytes(role: Role, count: int, known: list[Tensor]) -> bytes:
    """Export a model as an ONNX graph and check that ONNX Runtime gives the same scores as torch.

    Args:
        role: the model, on the CPU.
        count: items per user.
        known: inner ids of items not to recommend, for each of the users 1, 2, ... with which the graph is checked.

    Returns:
        Content of the ONNX file. Its inputs are `users` [B] and `excluded` [B, E]; for a sequential model `sequences`
        [B, L] and `lengths` [B] stand in the place of `users`, or beside it if it has vectors of users. Its outputs are
        `items` and `scores` [B, count]. See `ItemsGraph.best`. B and E are dynamic.

    Raises:
        InstallationError: onnx, onnxscript or onnxruntime is not installed.
        ExportError: ONNX lacks an operation that the model uses, or the graph gives other scores than torch.
    """
    runtime = _onnxruntime()
    model = role.config["model"]
    graph = graph_of(role, count)
    found = _given(role, known)
    given = {name: found[name] for name in graph.inputs}
    batch, width = torch.export.Dim("batch"), torch.export.Dim("width")
    with tempfile.TemporaryDirectory() as folder, _silence():
        try:
            path = Path(folder) / "graph.onnx"
            torch.onnx.export(
                graph,
                tuple(value[:2] for value in given.values()),
                path,
                dynamo=True,
                verbose=False,
                input_names=list(given),
                output_names=list(OUTPUTS),
                dynamic_shapes=tuple({0: batch, 1: width} if name == "excluded" else {0: batch} for name in given),
                external_data=False,
            )
            content = path.read_bytes()
        # The exporter raises errors of its own for every step, and those of torch and protobuf.
        except Exception as error:
            raise ExportError(_not_written(model, error)) from error
    _check(runtime, content, graph, given, model)
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what the exporter prints and logs, such as the operations up to one that it cannot write."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check(runtime: Any, content: bytes, graph: ItemsGraph, given: dict[str, Tensor], model: str) -> None:
    parts = [{name: value[:size] for name, value in given.items()} for size in {1, len(given["excluded"])}]
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = [session.run(["scores"], {name: value.numpy() for name, value in part.items()})[0] for part in parts]
    except Exception as error:  # those of ONNX Runtime have no common base
        raise ExportError(_not_written(model, error)) from error
    for part, scores in zip(parts, found, strict=True):
        expected = graph(*part.values())[1].detach().numpy()
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
        if not np.allclose(scores, expected, rtol=0, atol=TOLERANCE * largest):
            raise ExportError(f"{model} gives different scores as an ONNX graph and in torch; {_way_out(model)}")


def _not_written(model: str, error: Exception) -> str:
    problem = str(error.__cause__ or error).strip().splitlines()[0][:200]
    return f"{model} cannot be written as an ONNX graph ({type(error).__name__}: {problem}); {_way_out(model)}"


def _way_out(model: str) -> str:
    return "use --format=recbole" if is_recboles(model) else "use recbole-bd recommend"


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InstallationError(f'--format=onnx needs {error.name}: pip install "recbole-bd[export]"') from error
    return onnxruntime
