"""What may vary in a study: dimensions, spaces, families and designs, as plain data."""

from search_spaces.designs import (
    derived_seed,
    factor_levels,
    lr_slice,
    random_points,
    slice_length,
    slice_offset,
    sobol_points,
)
from search_spaces.dimensions import (
    Category,
    Dimension,
    Integer,
    LinearFloat,
    LogFloat,
    Param,
    dimension_from_json,
    dimension_to_json,
    extent,
)
from search_spaces.families import (
    FAMILIES,
    PAPER_FAMILIES,
    ROLES,
    Family,
    Reduction,
    Role,
    family,
    fitting_dimension,
)
from search_spaces.space import Space

__all__ = [
    "FAMILIES",
    "PAPER_FAMILIES",
    "ROLES",
    "Category",
    "Dimension",
    "Family",
    "Integer",
    "LinearFloat",
    "LogFloat",
    "Param",
    "Reduction",
    "Role",
    "Space",
    "derived_seed",
    "dimension_from_json",
    "dimension_to_json",
    "extent",
    "factor_levels",
    "family",
    "fitting_dimension",
    "lr_slice",
    "random_points",
    "slice_length",
    "slice_offset",
    "sobol_points",
]
