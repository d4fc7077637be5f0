"""The exercises of notebook 05, latents from a variational autoencoder, in the order of the notebook."""

from ldm_edu.check.nb05.ex1_bound_gap import bound_gap as bound_gap
from ldm_edu.check.nb05.ex2_rate_in_bits import rate_in_bits as rate_in_bits
from ldm_edu.check.nb05.ex3_code_slopes import code_slopes as code_slopes
from ldm_edu.check.nb05.ex4_least_distortion import least_distortion as least_distortion
from ldm_edu.check.nb05.ex5_vae_loss import vae_loss as vae_loss
from ldm_edu.check.nb05.ex6_undo import undo as undo
