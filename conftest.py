"""For all tests, the plugins' included: one torch thread, here and in the processes that tests start.

The networks in tests are tiny. With two threads a layer waits for the second one whenever anything else runs, and
results of two machines differ in their last bits. Set OMP_NUM_THREADS to choose another number.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
