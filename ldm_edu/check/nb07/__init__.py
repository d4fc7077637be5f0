"""The exercises of notebook 07, latent diffusion, in the order of the notebook."""

from ldm_edu.check.nb07.ex1_two_parts import two_parts as two_parts
from ldm_edu.check.nb07.ex2_saving import saving as saving
from ldm_edu.check.nb07.ex3_block_flops import block_flops as block_flops
from ldm_edu.check.nb07.ex4_normalise import normalise as normalise
from ldm_edu.check.nb07.ex5_generate import generate as generate
from ldm_edu.check.nb07.ex6_noisy_latent import noisy_latent as noisy_latent
