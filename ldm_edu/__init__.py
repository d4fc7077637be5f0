"""Latent diffusion, from a noise schedule to text-to-image, as the course's notebooks derive it.

schedule.py  forward.py  target.py  loss.py      the mathematics
denoiser.py  samplers.py                         the model as a sampler sees it, and the samplers
nets/  latent.py                                 the networks, and the whole model
data/  fit.py  train.py  checkpoint.py           pictures, training, files
classifier.py  metrics.py  card.py  plot.py      scores and figures
cli.py  options.py  bench/                       the command line
"""

__version__ = "0.1.0"
