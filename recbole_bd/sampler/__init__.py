"""Items that the roles exchange: ranks, top lists, candidates, draws."""
