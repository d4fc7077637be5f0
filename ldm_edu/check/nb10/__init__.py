"""The exercises of notebook 10, restoration, in the order of the notebook."""

from ldm_edu.check.nb10.ex1_psnr import psnr as psnr
from ldm_edu.check.nb10.ex2_denoised import denoised as denoised
from ldm_edu.check.nb10.ex3_stretched import stretched as stretched
from ldm_edu.check.nb10.ex4_shrunk import shrunk as shrunk
from ldm_edu.check.nb10.ex5_fit_gradient import fit_gradient as fit_gradient
from ldm_edu.check.nb10.ex6_measured import measured as measured
