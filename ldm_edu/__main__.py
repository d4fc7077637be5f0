"""python -m ldm_edu."""

import sys

from ldm_edu.cli import main

sys.exit(main())
