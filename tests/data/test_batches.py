"""Batches of the distillation stage: what is in them, in which order they come, and their shares."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_bd.data.batches import Batch, batch_stream, train_loader
from recbole_bd.system.distributed import Group
from tests.helpers.data import block_pairs, write_inter
from tests.helpers.histories import CHAINS, write_chains
from tests.helpers.loaders import split_of, streams


def test_equal_loaders_are_shared_and_cover_every_training_pair_once(quick):
    config, split = split_of(quick)
    stream = streams(config, split)
    assert len(stream.loaders) == 1
    users, items = (torch.cat(ids) for ids in zip(*((b.users, b.positives) for b in stream), strict=True))
    seen = sorted(zip(users.tolist(), items.tolist(), strict=True))
    assert seen == sorted(zip(*(ids.tolist() for ids in split.pairs("train")), strict=True))
    assert all(batch.roles == ("teacher", "student") for batch in stream)


def test_unequal_loaders_are_interleaved_in_proportion(quick):
    config, split = split_of(
        quick, teacher_model="CDAE", **{"teacher.train_batch_size": 16, "student.train_batch_size": 32}
    )
    stream = streams(config, split)
    assert len(stream.loaders) == 2
    order = [batch.roles[0] for batch in stream]
    assert len(order) == len(stream)
    teacher, student = order.count("teacher"), order.count("student")
    assert (teacher, student) == (4, -(-len(split.train) // 32))
    half = order[: len(order) // 2]
    assert abs(half.count("teacher") - teacher / 2) <= 1
    for batch in stream:
        if batch.roles == ("teacher",):
            assert batch.positives is None
            assert (batch.users > 0).all()  # RecBole's user loader includes padding


def test_the_stage_may_have_batches_of_its_own_size(quick):
    config, split = split_of(quick, **{"student.distill_batch_size": 50})
    teachers, students = streams(config, split).loaders
    assert [len(next(iter(loader))) for loader in (teachers, students)] == [128, 50]
    warm_up = train_loader(config.role("student"), split)
    assert len(next(iter(warm_up))) == 128


def test_positives_of_a_pointwise_loader_leave_its_negatives_out(quick):
    settings = {key: value for key, value in quick.items() if "." not in key}
    negatives = {"distribution": "uniform", "sample_num": 3}
    config, split = split_of(settings, teacher_model="NeuMF", student_model="NeuMF", train_neg_sample_args=negatives)
    train = set(zip(*(ids.tolist() for ids in split.pairs("train")), strict=True))
    for batch in streams(config, split):
        assert len(batch.interaction) == 4 * len(batch.users)
        assert set(zip(batch.users.tolist(), batch.positives.tolist(), strict=True)) <= train


def test_a_sequential_and_a_general_model_of_equal_losses_have_loaders_of_their_own(tmp_path):
    """Both learn from pairs, but only the batches of one hold histories."""
    settings = {**CHAINS, "data_path": str(write_chains(tmp_path)), "teacher_model": "BPR", "student_model": "GRU4Rec"}
    config, split = split_of({**settings, "student.loss_type": "BPR"})
    has_histories = {batch.roles: "item_id_list" in batch.interaction for batch in streams(config, split)}
    assert has_histories == {("teacher",): False, ("student",): True}


def test_a_fresh_loader_gives_the_same_batches(quick):
    config, split = split_of(quick)
    found = []
    for _ in range(2):
        init_seed(5, True)
        found.append([torch.stack(list(i.interaction.values())) for i in train_loader(config.role("teacher"), split)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_users_without_training_items_do_no_harm(tmp_path, quick):
    pairs = block_pairs()
    write_inter(tmp_path, "late", pairs, "train")
    write_inter(tmp_path, "late", [("u0", "i47"), ("new", "i3")], "valid")
    write_inter(tmp_path, "late", [("u1", "i0"), ("newer", "i9")], "test")
    config, split = split_of(
        quick, dataset="late", data_path=str(tmp_path), benchmark_filename=["train", "valid", "test"]
    )
    assert split.n_users == 63
    users = np.concatenate([batch.users.numpy() for batch in streams(config, split)])
    assert set(users) == set(split.pairs("train")[0].tolist())


def batch_by_hand(**more) -> Batch:
    """Five users with a positive and two negatives each; the model's own loss takes two rows a positive."""
    users = torch.arange(11, 16)
    interaction = Interaction({"user_id": users.repeat(2), "item_id": torch.arange(10)})
    return Batch(("student",), interaction, users, users + 10, torch.arange(10) + 50, **more)


def test_shares_of_a_batch_have_their_rows_weights_and_places():
    whole = batch_by_hand()
    (first, *weights), (second, *other_weights) = (whole.share(Group(rank, 2)) for rank in range(2))
    assert (weights, other_weights) == ([0.5, 0.4], [0.5, 0.6])
    assert (first.users.tolist(), second.users.tolist()) == ([11, 12], [13, 14, 15])
    assert (first.positives.tolist(), second.positives.tolist()) == ([21, 22], [23, 24, 25])
    assert (first.negatives.tolist(), second.negatives.tolist()) == ([50, 51, 52, 53, 54], [55, 56, 57, 58, 59])
    assert second.interaction["item_id"].tolist() == [5, 6, 7, 8, 9]
    assert (first.shard, second.shard) == ((0, 5), (2, 5))
    assert first.roles == ("student",)


def test_a_batch_of_users_only_is_shared_too():
    users = torch.arange(4)
    batch = Batch(("teacher",), Interaction({"user_id": users}), users, None)
    share, of_rows, of_users = batch.share(Group(1, 2))
    assert (share.users.tolist(), share.positives, share.negatives) == ([2, 3], None, None)
    assert (of_rows, of_users) == (0.5, 0.5)


def test_a_batch_goes_to_a_device_as_a_whole():
    moved = batch_by_hand(shard=(2, 9)).to(torch.device("meta"))
    tensors = (moved.users, moved.positives, moved.negatives, moved.interaction["item_id"])
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.shard, moved.roles) == ((2, 9), ("student",))
    users = torch.arange(4)
    assert Batch((), Interaction({"user_id": users}), users, None).to(torch.device("meta")).positives is None


def test_negatives_of_a_pairwise_loader_are_in_a_column_of_their_own(quick):
    config, split = split_of(quick, train_neg_sample_args={"distribution": "uniform", "sample_num": 2})
    for batch in streams(config, split):
        assert len(batch.interaction) == len(batch.negatives) == 2 * len(batch.users)
        assert torch.equal(batch.negatives, batch.interaction["neg_item_id"])


def test_the_stream_has_the_training_part_for_recboles_collector(quick):
    config, split = split_of(quick)
    stream = streams(config, split)
    assert stream.dataset is split.train
    assert stream.get_model(torch.nn.Linear(1, 1)) is None
    assert getattr(stream.loaders[0], "model", None) is None


def test_negatives_that_a_model_chooses_are_those_of_its_role(quick):
    """RecBole's dynamic negatives are the candidates that the model scores highest: each role has its own loader."""
    negatives = {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 4}
    config, split = split_of(quick, train_neg_sample_args=negatives)

    class Taste(torch.nn.Module):
        """Likes items of low numbers, or of high ones."""

        device = torch.device("cpu")

        def __init__(self, sign):
            super().__init__()
            self.sign = sign

        def predict(self, interaction):
            return self.sign * interaction["item_id"].float()

    models = {"teacher": Taste(1), "student": Taste(-1)}
    configs = {role: config.role(role) for role in config.backbones}
    stream = batch_stream(configs, split, models.__getitem__)
    assert [loader.model for loader in stream.loaders] == [models["teacher"], models["student"]]
    means = dict.fromkeys(models, 0.0)
    for batch in stream:
        (role,) = batch.roles
        means[role] += float(batch.negatives.float().mean()) / (len(stream) / 2)
    assert means["teacher"] == pytest.approx(0.8 * split.n_items, rel=0.1)  # the mean of the largest of four
    assert means["student"] == pytest.approx(0.2 * split.n_items, rel=0.2)
