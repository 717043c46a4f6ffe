"""Benches: each figure beside its raw limit and a plain central system, in the same run.

__main__.py     `python -m bench`: the table of figures, the rounds, the printed result
figures.py      what a figure is, and how its rounds become one row
measuring.py    CPU and memory of processes, pinning, processes that are spoken to
world.py        certificate authorities and stations that every server of a run shares
load.py         the stations: one process that connects, boots, holds and beats on command
servers/        what is measured, each a process of its own
<figure>.py     one module per figure
results.py, plot.py   the document and its picture
"""
