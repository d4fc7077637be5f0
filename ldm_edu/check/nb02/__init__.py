"""The exercises of notebook 02, two steps by hand, in the order of the notebook."""

from ldm_edu.check.nb02.ex1_weigh import weigh as weigh
from ldm_edu.check.nb02.ex2_posterior import posterior as posterior
from ldm_edu.check.nb02.ex3_ddpm_step import ddpm_step as ddpm_step
from ldm_edu.check.nb02.ex4_variance_before import variance_before as variance_before
from ldm_edu.check.nb02.ex5_own_noise import own_noise as own_noise
from ldm_edu.check.nb02.ex6_sample import sample as sample
