"""Grading a notebook whose code nobody has read: the code runs in a process of its own, the judging happens here.

notebook.py  a notebook's cells, and which exercise each belongs to
remote.py    our end: a process that is given cells and calls, with limits of time and memory
worker.py    its end: runs cells, answers calls; fences.py what the code in it may not do
wire.py      values as bytes that carry no code
grade.py     the marks of a notebook; table.py marks as text and JSON, and where a learner stands
autograde.py the same marks inside nbgrader

The checks of ldm_edu.check run on our side and see only what the learner's functions return: a notebook that prints a
score, changes the checker or leaves early changes nothing here.
"""
