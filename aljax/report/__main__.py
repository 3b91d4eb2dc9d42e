"""Makes reports: python -m aljax.report RUN_DIR [RUN_DIR ...]."""

import sys

from aljax.cli import report

sys.exit(report.main())
