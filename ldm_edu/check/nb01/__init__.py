"""The exercises of notebook 01, the forward process, in the order of the notebook."""

from ldm_edu.check.nb01.ex1_jump import jump as jump
from ldm_edu.check.nb01.ex2_even_snr import even_snr as even_snr
from ldm_edu.check.nb01.ex3_end_gap import end_gap as end_gap
from ldm_edu.check.nb01.ex4_to_exploding import to_exploding as to_exploding
from ldm_edu.check.nb01.ex5_mended_step import mended_step as mended_step
from ldm_edu.check.nb01.ex6_respaced import respaced as respaced
