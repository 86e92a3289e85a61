"""Which items the roles exchange: ranks, top lists, candidates, draws."""
