"""One model that serves several widths and depths (DynaBERT)."""
