"""Run the lab's process. Loading makes no garbage: what is loaded is kept out of the collector's sight for good."""

import gc
import sys

gc.disable()

from lib.lab.server import main  # noqa: E402

gc.freeze()
gc.enable()
sys.exit(main())
