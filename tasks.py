"""Groundwork's tasks, assembled. The logic is in lib/."""

import atexit
import gc
import sys

# A run is short and keeps nearly all that it makes, most of it modules: looking through that for garbage every 700
# objects, and once more at the end of the process, took a seventh of a run.
gc.set_threshold(20_000)
atexit.register(gc.freeze)

# Invoke turns this on for the file that it loads; without bytecode every run would compile everything.
sys.dont_write_bytecode = False

from invoke import Collection  # noqa: E402

from lib.tasks import across, dns, foundation, lab  # noqa: E402

ns = Collection(
    foundation.foundation,
    across.plan,
    across.status,
    across.drift,
    across.doctor,
    across.trust,
)
ns.add_collection(Collection.from_module(lab), name="lab")
ns.add_collection(Collection.from_module(dns), name="dns")
