"""The exercises of notebook 04, the U-Net and DDPM, in the order of the notebook."""

from ldm_edu.check.nb04.ex1_time_embedding import time_embedding as time_embedding
from ldm_edu.check.nb04.ex2_timed_norm import timed_norm as timed_norm
from ldm_edu.check.nb04.ex3_attention import attention as attention
from ldm_edu.check.nb04.ex4_mean_age import mean_age as mean_age
from ldm_edu.check.nb04.ex5_clipped_step import clipped_step as clipped_step
from ldm_edu.check.nb04.ex6_one_call_loss import one_call_loss as one_call_loss
