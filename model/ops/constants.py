"""Numbers that a kernel and its plain twin share with what calls them."""

from __future__ import annotations

COLOR_MARGIN = 0.001  # the decoder's colours reach so far beyond [0,1]
BODY_PARTS = 15  # that the search for canonical roots starts from; see deformation's table of them
# Metres: parts so much farther than the nearest are not searched from: their roots would lie outside.
PART_MARGIN = 0.05
# Sizes for the kernels of search.cu that look at no field.
ANY_FIELD = {"CHANNELS": 4, "HIDDEN": 1, "PARTS": BODY_PARTS}
