"""The exercises of notebook 08, conditioning and guidance, in the order of the notebook."""

from ldm_edu.check.nb08.ex1_dropped import dropped as dropped
from ldm_edu.check.nb08.ex2_numbered import numbered as numbered
from ldm_edu.check.nb08.ex3_cross_attention import cross_attention as cross_attention
from ldm_edu.check.nb08.ex4_classifier_guided import classifier_guided as classifier_guided
from ldm_edu.check.nb08.ex5_composed import composed as composed
from ldm_edu.check.nb08.ex6_guided import guided as guided
