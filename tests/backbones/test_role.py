"""The scoring seam, held against what every general recommender of RecBole says itself."""

import sys

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender, GeneralRecommender
from recbole.model.general_recommender import BPR, LightGCN
from recbole.utils import init_seed

from recbole_bd.backbones import registry
from recbole_bd.backbones.acceleration.embedding_gradients import GatheredEmbedding, gather_gradients
from recbole_bd.backbones.acceleration.sparse_graphs import CompressedGraph, compress_graphs
from recbole_bd.backbones.acceleration.sparse_histories import HistoryLinear, read_histories_sparsely
from recbole_bd.backbones.names import STUDENT, TEACHER
from recbole_bd.backbones.registry import general_recommenders, recommender_class, require_teachable
from recbole_bd.backbones.role import Role
from recbole_bd.backbones.traits import CACHES, TRAITS
from recbole_bd.errors import RoleError

torch.set_num_threads(1)

NAMES = general_recommenders()
SMALL = {
    "embedding_size": 8,
    "n_layers": 2,
    "hidden_size_list": [8, 8],
    "n_factors": 2,
    "gcn_output_dim": 8,
    "mf_embedding_size": 8,
    "mlp_embedding_size": 8,
    "mlp_hidden_size": [16, 8],
    "ui_embedding_size": 8,
    "neigh_embedding_size": 4,
    "num_conv_kernel": 4,
    "neigh_num": 10,
    "weight_size": 8,
    "user_embedding_size": 8,
    "item_embedding_size": 8,
    "user_hidden_size_list": [8, 8],
    "item_hidden_size_list": [8, 8],
    "latent_dimension": 8,
    "hidden_dimension": 16,
    "encoder_hidden_size": [16],
    "kfac": 3,
    "dims_dnn": [16],
    "in_dims": [16],
    "critic_layers": [8],
    "metrics_k": 10,
    "num_clusters": 3,
    "k": 10,
    "rank": 5,
    "lambda1": 0.1,
    "lambda2": 5.0,
    "rho": 50.0,
    "reg_weight": 0.01,
}
SETTINGS = {
    "ConvNCF": {"cnn_channels": [1, 4, 4], "cnn_kernels": [4, 2], "cnn_strides": [4, 2]},
    "SimpleX": {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 4}},
    "FISM": {"alpha": 0.5, "reg_weights": [1e-4, 1e-4]},
    "MacridVAE": {"tau": 0.5},
    "NNCF": {"dropout": 0.1},
    "SLIMElastic": {"alpha": 0.01},
}
WITHOUT_NEGATIVES = {"ENMF", "CDAE", "MultiDAE", "MultiVAE", "MacridVAE", "RaCT", "RecVAE", "DiffRec", "LDiffRec"}
PROBABILITIES = {"NeuMF", "NNCF", "NAIS", "DMF", "CDAE"}  # whose own scores are sigmoid(logit)
CLOSED_FORM = {"Pop", "Random", "ItemKNN", "AsymKNN", "EASE", "ADMMSLIM", "SLIMElastic", "NCEPLRec"}
OWN_TRAINER = {"RecVAE", "RaCT", "NCL"}
TEACHABLE = [name for name in NAMES if name not in CLOSED_FORM | OWN_TRAINER]
ADD_ROWS = {"CDAE", "ENMF", "ConvNCF", "SGL"}  # whose loss adds up a batch; the others' is a mean over its rows
ADD_ITEMS = {"CDAE", "ENMF", "LDiffRec", "MacridVAE", "MultiDAE", "MultiVAE"}  # of a row, all items of its user
GRAPHS = {"LightGCN", "NGCF", "DGCF", "SpectralCF", "NCL", "SGL", "GCMC"}
INNER_PRODUCTS = GRAPHS | {"BPR", "LINE", "ENMF", "SimpleX", "DMF", "FISM", "NCEPLRec"}
PROPAGATIONS = {"LightGCN": 1, "NGCF": 1, "DGCF": 1, "SpectralCF": 1, "SGL": 3}  # SGL: two more, for its own loss


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """40 users and 60 items in two blocks: users of a block take 8 to 14 of its 30 items, 6 or more in training."""
    generator = np.random.default_rng(7)
    lines = ["user_id:token\titem_id:token"]
    for user in range(40):
        for item in generator.choice(30, size=generator.integers(8, 15), replace=False) + 30 * (user % 2):
            lines.append(f"u{user}\ti{item}")
    path = tmp_path_factory.mktemp("data")
    (path / "blocks").mkdir()
    (path / "blocks" / "blocks.inter").write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def data(folder):
    """Config and training loader of a model by its name, made once."""
    made = {}

    def get(name, **settings):
        key = (name, str(settings))
        if key not in made:
            negatives = {"train_neg_sample_args": None} if name in WITHOUT_NEGATIVES else {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["x"])
                config = Config(
                    model=name,
                    dataset="blocks",
                    config_dict={
                        **{"data_path": str(folder), "seed": 3, "reproducibility": True, "use_gpu": False},
                        **{"load_col": {"inter": ["user_id", "item_id"]}, "train_batch_size": 128},
                        **{"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO"}},
                        **{"gpu_id": "", "state": "WARNING", "show_progress": False},
                        **SMALL,
                        **negatives,
                        **SETTINGS.get(name, {}),
                        **settings,
                    },
                )
            config["device"] = torch.device("cpu")
            init_seed(config["seed"], True)
            made[key] = config, data_preparation(config, create_dataset(config))[0]
        return made[key]

    return get


def spread(model, seed=5, std=0.4):
    """Draw the parameters anew, so that logits leave [0, 1] and no two scores agree by a small start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    if hasattr(model, "item_emb"):  # SimpleX tells padding by its zero row; others mask it
        model.item_emb.weight.data[0] = 0


@pytest.fixture
def build(data):
    """A role around a freshly built model, its parameters spread; and its training loader."""

    def make(name, model_class=None, **settings):
        config, loader = data(name, **settings)
        init_seed(3, True)
        model = (model_class or recommender_class(name))(config, loader.dataset)
        if name == "Pop":
            for batch in loader:
                model.calculate_loss(batch)
        if name not in CLOSED_FORM:
            spread(model)
        return Role(STUDENT, model, config), loader

    return make


def batch(role, users=12, items=7):
    """Users of which some repeat, and items with the padding item among them."""
    generator = torch.Generator().manual_seed(11)
    some_users = torch.randint(1, role.n_users, (users,), generator=generator)
    some_users[-1] = some_users[0]
    some_items = torch.randint(0, role.n_items, (users, items), generator=generator)
    some_items[0, 0] = 0
    return some_users, some_items


def first_batch(role, loader):
    role.model.train()
    return next(iter(loader))


def everyone(model):
    return torch.arange(1, model.n_users)


def predicted(model, users):
    """The model's own `predict` for all items."""
    items = torch.arange(model.n_items)
    pairs = {model.USER_ID: users.repeat_interleave(len(items)), model.ITEM_ID: items.repeat(len(users))}
    return torch.as_tensor(model.predict(Interaction(pairs))).reshape(len(users), -1).float()


def own_ranking_scores(model, users):
    """The scores by which RecBole ranks all items in its evaluation."""
    if type(model).full_sort_predict is AbstractRecommender.full_sort_predict:
        return predicted(model, users)
    return type(model).full_sort_predict(model, Interaction({model.USER_ID: users})).reshape(len(users), -1).float()


def close(one, other, tolerance=1e-4):
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", TEACHABLE)
def test_a_batch_twice_is_two_batches_where_the_loss_adds_up_its_rows(name, data):
    config, loader = data(name)
    init_seed(3, True)
    role = Role(STUDENT, recommender_class(name)(config, loader.dataset), config)
    once = first_batch(role, loader)
    twice = Interaction({key: torch.cat([once[key], once[key]]) for key in once.columns})
    role.model.eval()

    def loss(batch):  # some draw noise, or which of two losses it is
        init_seed(5, True)
        return sum(float(role.loss(batch)) for _ in range(30))

    assert loss(twice) / loss(once) == pytest.approx(2 if name in ADD_ROWS else 1, rel=0.1)
    assert role.interactions_added(len(twice), 3.5) / role.interactions_added(len(once), 3.5) == (
        2 if name in ADD_ROWS else 1
    )
    assert role.interactions_added(1, 3.5) == (3.5 if name in ADD_ITEMS else 1)


# (a), (b), (e): what the seam says


@pytest.mark.parametrize("name", NAMES)
def test_pair_logits_are_columns_of_all_logits(build, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        pairs, rows = role.pair_logits(users, items), role.all_logits(users)
        some = torch.tensor([0, 3, 4, role.n_items - 1])
        assert close(role.all_logits(users, some), rows[:, some], 1e-5)
    assert pairs.shape == items.shape
    assert rows.shape == (len(users), role.n_items)
    assert close(pairs, rows.gather(1, items), 1e-5)
    assert close(rows[0], rows[-1], 1e-5)  # the same user twice
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert not rows.requires_grad


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Random"])
def test_logits_rank_as_the_model_itself_does(build, name):
    role, _ = build(name)
    users = everyone(role.model)
    with role.scoring():
        logits, own = role.all_logits(users), own_ranking_scores(role.model, users)
        pairwise = predicted(role.model, users)
        if "full_sort_predict" in vars(role.model):  # given to a model that has none
            given = role.model.full_sort_predict(Interaction({role.model.USER_ID: users}))
            assert close(given.reshape(len(users), -1), own, 1e-5)
    expected = logits.sigmoid() if name in PROBABILITIES else logits
    assert close(own, expected)
    ordered = own.gather(1, logits.argsort(dim=1))
    assert (ordered.diff(dim=1) >= -2e-5).all()
    assert own.std() > 1e-3  # not all the same
    assert close(pairwise, logits.sigmoid().sigmoid() if name == "FISM" else expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CLOSED_FORM])
def test_logits_are_no_probabilities(build, name):
    role, _ = build(name)
    with role.scoring():
        logits = role.all_logits(everyone(role.model))
    assert logits.min() < 0 or logits.max() > 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SimpleX", {"aggregator": "user_attention"}),
        ("SimpleX", {"aggregator": "self_attention", "gamma": 0.2}),
        ("NAIS", {"algorithm": "concat", "alpha": 0.3}),
        ("NeuMF", {"mf_train": False}),
        ("GCMC", {"accum": "sum", "sparse_feature": False, "num_basis_functions": 3}),
        ("SGL", {"type": "RW"}),
        ("SGL", {"type": "ND"}),
        ("FISM", {"alpha": 0.0, "split_to": 4}),
        ("ADMMSLIM", {"center_columns": True}),
        ("ItemKNN", {"knn_method": "user"}),
        ("NGCF", {"node_dropout": 0.2}),
        ("DiffRec", {"mean_type": "eps"}),
        ("DiffRec", {"noise_scale": 0.0}),
    ],
)
def test_other_settings_rank_as_the_model_itself_does(build, name, settings):
    role, _ = build(name, **settings)
    role.model.train()
    users, items = batch(role)
    with role.scoring():
        logits, own = role.all_logits(users), own_ranking_scores(role.model, users)
        assert close(role.pair_logits(users, items), logits.gather(1, items), 1e-5)
    assert close(own, logits.sigmoid() if name in PROBABILITIES else logits)


def test_cdae_with_relu_output_still_gives_what_is_before_it(build):
    role, _ = build("CDAE", out_activation="relu", loss_type="MSE")
    users = everyone(role.model)
    with role.scoring():
        logits = role.all_logits(users)
        assert close(own_ranking_scores(role.model, users), logits.relu())
    assert logits.min() < 0


def test_cdae_counts_repeated_interactions_once_as_recbole_does(build):
    role, _ = build("CDAE")
    role.model.history_item_id[3, 1] = role.model.history_item_id[3, 0]
    again = Role(STUDENT, role.model, role.config)
    users = everyone(role.model)
    with again.scoring():
        assert close(own_ranking_scores(role.model, users), again.all_logits(users).sigmoid())


def test_cdae_drops_out_of_the_history(build):
    """In train mode the mean of many scores is near that without dropout, and single ones are not."""
    role, _ = build("CDAE", hid_activation="relu", corruption_ratio=0.3)
    with torch.no_grad():  # far above zero, so that relu is linear and the mean can be told
        role.model.h_user.weight.fill_(50.0)
    users, items = torch.arange(1, 6), torch.arange(1, 31).repeat(5, 1)
    with role.scoring():
        expected = role.pair_logits(users, items)
    role.model.train()
    with torch.no_grad():
        drawn = torch.stack([role.pair_logits(users, items) for _ in range(2000)])
    assert (drawn.std(dim=0) > 0.01).all()
    assert ((drawn.mean(dim=0) - expected).abs() < 6 * drawn.std(dim=0) / 2000**0.5).all()


@pytest.mark.parametrize("name", ["FISM", "NAIS", "DMF", "SimpleX", "CDAE", "MultiVAE", "LightGCN"])
def test_user_without_history_gets_finite_scores_and_gradients(build, name):
    role, _ = build(name)
    users, items = torch.tensor([0, 3, 0]), torch.tensor([[1, 2], [3, 4], [5, 0]])  # user 0 is padding
    logits = role.pair_logits(users, items)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in role.model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["NeuMF", "NNCF", "ConvNCF", "NAIS"])
def test_pair_networks_score_the_same_in_small_chunks(build, monkeypatch, name):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        expected = role.pair_logits(users, items), role.all_logits(users)
        monkeypatch.setattr(role._scores, "pairs_at_once", 25)
        assert close(role.pair_logits(users, items), expected[0], 1e-5)
        assert close(role.all_logits(users), expected[1], 1e-5)


@pytest.mark.parametrize("name", sorted(INNER_PRODUCTS))
def test_embeddings_multiply_to_all_logits(build, name):
    role, _ = build(name)
    with role.scoring():
        users, items = role.embeddings()
        assert users.shape[0] == role.n_users
        assert items.shape[0] == role.n_items
        assert close(users @ items.T, role.all_logits(torch.arange(role.n_users)), 1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - INNER_PRODUCTS))
def test_other_models_have_no_embeddings(build, name):
    assert build(name)[0].embeddings() is None


# (c), (d): learning


@pytest.mark.parametrize("name", TEACHABLE)
def test_gradient_of_pair_logits_reaches_every_parameter(build, name):
    require_teachable(name, STUDENT)
    role, _ = build(name)
    role.model.train()
    users, items = batch(role, users=30, items=10)
    logits = role.pair_logits(users, items)
    (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for key, parameter in role.model.named_parameters():
        if "context_embedding" in key:  # LINE's second order serves its own loss alone
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    assert role.parameter_count == sum(p.numel() for p in role.model.parameters() if p.requires_grad) > 0


@pytest.mark.parametrize("name", TEACHABLE)
def test_gathered_lookups_and_compressed_graphs_give_every_models_loss_the_same_gradient(build, name):
    """With rows gathered per table and graphs in compressed rows, as roles are built, and as RecBole has them."""
    found = []
    interaction = first_batch(*build(name))
    for gathered in (False, True):
        role, _ = build(name)
        role.model.train()
        if gathered:
            gather_gradients(role.model)
            compress_graphs(role.model)
        tables = [type(module) for module in role.model.modules() if isinstance(module, torch.nn.Embedding)]
        assert all((table is GatheredEmbedding) == gathered for table in tables)
        graphs = [value for value in vars(role.model).values() if isinstance(value, CompressedGraph)]
        assert len(graphs) >= (gathered and name in GRAPHS)
        users, items = batch(role)
        init_seed(5, True)  # of dropout and noise
        with role.step():
            loss = role.loss(interaction) + role.pair_logits(users, items).sigmoid().mean()
        loss.backward()
        found.append({key: parameter.grad for key, parameter in role.model.named_parameters()})
    for key, gradient in found[0].items():
        assert (gradient is None) == (found[1][key] is None), key
        assert gradient is None or close(gradient, found[1][key]), key


@pytest.mark.parametrize(
    ("name", "settings"),
    [("CDAE", {"corruption_ratio": 0.0}), ("MultiDAE", {"dropout_prob": 0.0}), ("MultiVAE", {"dropout_prob": 0.0})],
)
def test_histories_read_sparsely_give_the_same_loss_and_gradient(build, name, settings):
    found = []
    interaction = first_batch(*build(name, **settings))
    for sparsely in (False, True):
        role, _ = build(name, **settings)
        role.model.train()
        if sparsely:
            read_histories_sparsely(role.model)
        layers = [layer for layer in role.model.modules() if isinstance(layer, HistoryLinear)]
        assert len(layers) == sparsely
        init_seed(5, True)
        loss = role.loss(interaction)
        loss.backward()
        found.append((loss, {key: parameter.grad for key, parameter in role.model.named_parameters()}))
    assert close(found[0][0], found[1][0])
    assert all(close(gradient, found[1][1][key]) for key, gradient in found[0][1].items())


@pytest.mark.parametrize("name", TEACHABLE)
def test_no_score_is_stale(build, name):
    role, loader = build(name)
    users, items = batch(role)
    optimizer = torch.optim.SGD(role.model.parameters(), lr=0.05)

    def scores():
        role.model.eval()
        own_ranking_scores(role.model, users)  # what RecBole's evaluation leaves: a full cache
        with role.scoring():
            inside = role.pair_logits(users, items), role.all_logits(users)
        own_ranking_scores(role.model, users)
        return *inside, role.pair_logits(users, items).detach(), role.all_logits(users).detach()

    before, again = scores(), scores()
    assert all(torch.equal(one, other) for one, other in zip(before, again, strict=True))
    assert close(before[0], before[2], 1e-6)
    assert close(before[1], before[3], 1e-6)
    loss = role.loss(first_batch(role, loader))
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    for _ in range(2):  # the second step follows no loss, which is what clears the caches of the hosts
        optimizer.step()
        after = scores()
        assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        before = after


@pytest.mark.parametrize("name", ["BPR", "NeuMF", "CDAE", "MultiVAE", "MultiDAE"])
@pytest.mark.parametrize("learning", [False, True])
def test_what_is_taught_is_without_dropout_and_gradient(build, name, learning):
    role, _ = build(name)
    users, items = batch(role)
    with role.scoring():
        expected = role.pair_logits(users, items)
    role.model.train()
    with role.step():
        target = role.target_logits(users, items, learning)
    assert not target.requires_grad
    assert torch.equal(target, expected)
    assert all(module.training for module in role.model.modules())


def test_random_is_drawn_once_per_scope(build):
    role, _ = build("Random")
    users, _ = batch(role)
    with role.scoring():
        first = role.all_logits(users)
        assert torch.equal(first, role.all_logits(users))
    assert not torch.equal(first, role.all_logits(users))


# (g), (h): one propagation


def count_calls(monkeypatch, owner, method):
    calls, original = [], getattr(owner, method)

    def counted(*arguments, **more):
        calls.append(1)
        return original(*arguments, **more)

    monkeypatch.setattr(owner, method, counted)
    return calls


@pytest.mark.parametrize("name", [*PROPAGATIONS, "GCMC"])
def test_a_step_propagates_once(build, monkeypatch, name):
    role, loader = build(name)
    interaction = first_batch(role, loader)
    users, items = batch(role)
    owner = type(role.model.GcEncoder) if name == "GCMC" else type(role.model)
    calls = count_calls(monkeypatch, owner, "forward")
    with role.step():
        loss = role.loss(interaction) + role.pair_logits(users, items).sum() + role.all_logits(users).mean()
        role.pair_logits(users, items)
    assert len(calls) == PROPAGATIONS.get(name, 1)
    loss.backward()
    calls.clear()
    with role.scoring():
        role.all_logits(users)
        role.pair_logits(users, items)
        role.embeddings()
    assert len(calls) == 1
    calls.clear()
    role.pair_logits(users, items)
    role.pair_logits(users, items)
    assert len(calls) == 2
    assert "forward" not in vars(role.model)


def test_dmf_runs_its_item_tower_once_per_scope(build, monkeypatch):
    role, _ = build("DMF")
    calls = count_calls(monkeypatch, type(role._scores), "item_tower")
    with role.scoring():
        role.all_logits(everyone(role.model))
        role.embeddings()
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["LightGCN", "DMF"])
def test_shared_propagation_gives_the_same_gradient(build, name):
    role, loader = build(name)
    interaction = first_batch(role, loader)
    users, items = batch(role)

    def distillation():
        return role.pair_logits(users, items).sigmoid().log().neg().mean()

    def gradients():
        found = [parameter.grad.clone() for parameter in role.model.parameters()]
        role.model.zero_grad()
        return found

    with role.step():
        (role.loss(interaction) + distillation()).backward()
    together = gradients()
    role.loss(interaction).backward()
    distillation().backward()
    assert all(close(one, other, 1e-6) for one, other in zip(together, gradients(), strict=True))


def test_sharing_ends_where_parameters_modes_or_gradients_change(build):
    role, loader = build("LightGCN")
    interaction = first_batch(role, loader)
    users, items = batch(role)
    for more in ({}, {"foreach": True}, {"fused": True}):
        optimizer = torch.optim.Adam(role.model.parameters(), lr=0.1, **more)
        with role.step():
            with role.scoring():  # without gradient, first
                before = role.pair_logits(users, items)
            optimizer.zero_grad()
            assert role.pair_logits(users, items).requires_grad
            role.loss(interaction).backward()
            optimizer.step()
            after = role.pair_logits(users, items)
        assert after.requires_grad
        assert not close(before, after)
        with role.scoring():
            assert close(after, role.pair_logits(users, items), 1e-6)


# scoring leaves the model as it was


def test_scoring_restores_every_module_mode(build):
    role, _ = build("NeuMF")
    role.model.train()
    role.model.mlp_layers.eval()
    modes = [module.training for module in role.model.modules()]
    with role.scoring():
        with role.scoring():
            pass
        assert not any(module.training for module in role.model.modules())
        assert not torch.is_grad_enabled()
        with pytest.raises(IndexError):
            role.all_logits(torch.tensor([role.n_users]))
    assert [module.training for module in role.model.modules()] == modes
    assert torch.is_grad_enabled()


def test_scoring_does_not_draw_new_graphs_for_sgl(build):
    role, _ = build("SGL")
    role.model.train()
    graphs = role.model.sub_graph1, role.model.sub_graph2
    state = np.random.get_state()[1].copy()
    with role.scoring():
        role.all_logits(everyone(role.model))
    assert (role.model.sub_graph1, role.model.sub_graph2) == graphs
    assert (np.random.get_state()[1] == state).all()
    assert role.model.training


@pytest.mark.parametrize("name", ["EASE", "ItemKNN", "SLIMElastic", "Pop"])
def test_forget_keeps_what_a_closed_form_model_consists_of(build, name):
    role, _ = build(name)
    before = role.model.other_parameter()
    role.forget()
    after = role.model.other_parameter()
    assert before
    assert all(after[key] is before[key] for key in before)


@pytest.mark.parametrize("name", ["LightGCN", "SGL", "DMF"])
def test_scoring_drops_the_cache_of_the_host(build, name):
    role, _ = build(name)
    role.model.eval()
    own_ranking_scores(role.model, everyone(role.model))
    assert any(getattr(role.model, cache, None) is not None for cache in CACHES)
    with role.scoring():
        own_ranking_scores(role.model, everyone(role.model))
    assert all(getattr(role.model, cache, None) is None for cache in CACHES)


# models of third parties


class CachingGCN(LightGCN):
    """A third party's model: RecBole's caching, and scores of its own."""

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) * 2


class PredictOnly(BPR):
    """A third party's model that only scores pairs."""

    full_sort_predict = AbstractRecommender.full_sort_predict


@pytest.mark.parametrize(("parent", "model_class", "factor"), [("LightGCN", CachingGCN, 2), ("BPR", PredictOnly, 1)])
def test_third_party_models_score_by_their_own_methods(build, parent, model_class, factor):
    role, loader = build(parent, model_class)
    known, _ = build(parent)
    users, items = batch(role)
    assert role.embeddings() is None
    with role.scoring(), known.scoring():
        before = role.pair_logits(users, items)
        assert close(before, known.pair_logits(users, items) * factor, 1e-5)
        assert close(role.all_logits(users), known.all_logits(users) * factor, 1e-5)
    role.model.eval()
    own_ranking_scores(role.model, users)  # fills the cache
    spread(role.model, seed=6)
    after = role.pair_logits(users, items)
    after.sum().backward()
    assert not close(before, after)
    assert role.model.user_embedding.weight.grad.abs().sum() > 0
    assert role.loss(first_batch(role, loader)).isfinite()


# (i): names


def test_all_shipped_general_recommenders_are_listed():
    assert len(NAMES) == 33
    assert sorted(NAMES) == NAMES
    assert all(issubclass(recommender_class(name), GeneralRecommender) for name in NAMES)
    assert set(NAMES) == set(TRAITS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LigthGCN", "Did you mean LightGCN?"),
        ("lightgcn", "Did you mean LightGCN?"),
        ("MultVAE", "Did you mean MultiVAE?"),
        ("qqqqqq", "Available models: ADMMSLIM"),
        ("SASRec", "sequential recommender"),
        ("GeneralRecommender", "unknown model"),
    ],
)
def test_unknown_models_are_refused_with_a_hint(name, words):
    with pytest.raises(RoleError) as caught:
        recommender_class(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", [TEACHER, STUDENT])
@pytest.mark.parametrize("name", sorted(CLOSED_FORM))
def test_models_without_gradient_are_refused(name, role):
    with pytest.raises(RoleError, match=f"^{role}: {name} has no parameters .* one-way method"):
        require_teachable(name, role)


@pytest.mark.parametrize(
    ("name", "way_out"), [("RecVAE", "RecVAETrainer.*MultiVAE"), ("RaCT", "MultiVAE"), ("NCL", "LightGCN")]
)
def test_models_with_a_trainer_of_their_own_are_refused(name, way_out):
    with pytest.raises(RoleError, match=f"^{STUDENT}: {name} needs .*{way_out}"):
        require_teachable(name, STUDENT)


def test_missing_package_is_named(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(RoleError, match="pip install faiss"):
        recommender_class("NCL")
