"""How log files of a run are written: added to whole, and as TensorBoard reads them."""
