"""Damaged and hostile files for every reader of the project: `python -m tests.fuzz --help`.

`mutators`, `arrays`, `pictures`, `zips`, `tables` and `pickles` damage and invent files, `seeds` and `seeds_model` make
whole ones, `targets` is the table of the readers, `runner` reads a file under watch, `pool` keeps several processes
at it.
"""
