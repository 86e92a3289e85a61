"""All general recommenders of RecBole, small, on data of two blocks: settings, batches and the models' own scores."""

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_bd.backbones.registry import general_recommenders

torch.set_num_threads(1)

NAMES = [name for name in general_recommenders() if name != "Lists"]  # which needs a file
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
GRAPHS = {"LightGCN", "NGCF", "DGCF", "SpectralCF", "NCL", "SGL", "GCMC"}
INNER_PRODUCTS = GRAPHS | {"BPR", "MF", "LINE", "ENMF", "SimpleX", "DMF", "FISM", "NCEPLRec"}


def spread(model, seed=5, std=0.4):
    """Draw the parameters anew, so that logits leave [0, 1] and no two scores agree by a small start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    if hasattr(model, "item_emb"):  # SimpleX tells padding by its zero row; others mask it
        model.item_emb.weight.data[0] = 0


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
