"""The exercises of notebook 09, editing, in the order of the notebook."""

from ldm_edu.check.nb09.ex1_alike import alike as alike
from ldm_edu.check.nb09.ex2_begin import begin as begin
from ldm_edu.check.nb09.ex3_fill import fill as fill
from ldm_edu.check.nb09.ex4_walk_again import walk_again as walk_again
from ldm_edu.check.nb09.ex5_free_latents import free_latents as free_latents
from ldm_edu.check.nb09.ex6_comes_back import comes_back as comes_back
