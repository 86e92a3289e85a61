"""Models x seeds as one table: run what is missing (`schedule`), then read run folders and write pages from them.

Data goes `records` -> `tables` -> `verdicts` -> `formats`, `pictures`, `page`; `command` is what the user calls.
"""
