"""RecBole's refusals of settings that do not fit the data, in terms of the settings."""

import re

# RecBole's messages, and what to tell the user instead.
_EXPLAINED = {
    r"is not exist in interaction|is not in inter_feat": (
        "the time of the interactions is not loaded; name its column in TIME_FIELD and in load_col"
    ),
    r"Field \[(.+)\] not defined in dataset": (
        "val_interval: no column {0} is loaded; name it in load_col, or leave it out of val_interval"
    ),
    r"feat is empty": (
        "no user or item is left after filtering; loosen user_inter_num_interval, item_inter_num_interval or "
        "val_interval"
    ),
    r"interacted with all items": (
        "a user has seen every item, so nothing is left to rank for them; filter such users with "
        "user_inter_num_interval"
    ),
    r"must be (?:exist|loaded) if (\w+)_feat": (
        "load_col: {0} lacks the column of its ids, which USER_ID_FIELD or ITEM_ID_FIELD names"
    ),
    r"Additional feature file \[(.+)\] not found": "additional_feat_suffix: data file {0} does not exist",
    r"(\w+)_feat already exist": "additional_feat_suffix: {0} is read already; leave it out",
    r"should not have the same field \[(?:np\.str_\()?'([^']+)'": "alias_of_user_id, alias_of_item_id: {0} is in both",
    r"^np\.str_\('(.+)'\)$": "alias_of_user_id, alias_of_item_id: no column {0} of ids is loaded; name it in load_col",
    r"`(alias_of_\w+)` should not contain non-token-like field \[(.+)\]": "{0}: {1} is no column of ids",
    r"Preload (?:id|value) field \[(.+?)\]": (
        "preload_weight: {0} must be one of two loaded columns of the same file, the ids and their vectors"
    ),
}


def explain(error: Exception) -> str:
    """Say in terms of the settings what RecBole refuses.

    Args:
        error: the exception that RecBole raises while it reads or splits the data.

    Returns:
        One line. An unknown refusal is quoted after a few words that say what it is about.
    """
    text = " ".join(str(error).split())
    for pattern, explained in _EXPLAINED.items():
        if found := re.search(pattern, text):
            return explained.format(*found.groups())
    return f"its files do not fit the settings: {text or type(error).__name__}"
