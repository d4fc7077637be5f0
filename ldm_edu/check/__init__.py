"""The exercises' checks: one module for each notebook, one object for each exercise.

    from ldm_edu.check import nb01 as check

    check.jump(jump)       says that the learner's function is right, or names the mistake
    check.jump.hint(1)     helps a little; a higher number helps more

A module nbNN.py holds, for each exercise: the right function, the mistakes that are often made (each a function that
makes it and a sentence that names it), the cases that both are tried on, and the `Exercise` that ties them together.
calls.py calls answers, compare.py compares and recognises, exercise.py says what an exercise is.
How to write exercises for a further notebook is told in solutions/README.md.
"""
