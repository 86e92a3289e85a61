"""RecBole's models in the role of teacher or student."""
