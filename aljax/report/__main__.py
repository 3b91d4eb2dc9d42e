"""Makes reports: python -m aljax.report RUN_DIR [RUN_DIR ...]."""

import sys

from aljax.report import make

sys.exit(make.main())
