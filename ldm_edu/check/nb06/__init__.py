"""The exercises of notebook 06, DDIM, in the order of the notebook."""

from ldm_edu.check.nb06.ex1_coefficients import coefficients as coefficients
from ldm_edu.check.nb06.ex2_ddim_step import ddim_step as ddim_step
from ldm_edu.check.nb06.ex3_times import times as times
from ldm_edu.check.nb06.ex4_step_up import step_up as step_up
from ldm_edu.check.nb06.ex5_slerp import slerp as slerp
from ldm_edu.check.nb06.ex6_clipped_step import clipped_step as clipped_step
