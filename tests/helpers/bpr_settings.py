"""Settings of a role that plays BPR, as far as evaluation reads them."""

from recbole.model.general_recommender import BPR


class BPRSettings(dict):
    """The settings as a mapping, with the class that RecBole's Config keeps."""

    model_class = BPR
