"""The exercises of notebook 03, predicting noise, in the order of the notebook."""

from ldm_edu.check.nb03.ex1_weight_of_v import weight_of_v as weight_of_v
from ldm_edu.check.nb03.ex2_floor import floor as floor
from ldm_edu.check.nb03.ex3_score import score as score
from ldm_edu.check.nb03.ex4_from_v import from_v as from_v
from ldm_edu.check.nb03.ex5_v_loss import v_loss as v_loss
from ldm_edu.check.nb03.ex6_training_loss import training_loss as training_loss
